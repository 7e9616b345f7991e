// Being connected, told calmly: a break shorter than the grace is not told at all.

import type { Link } from './model';
import type { Store } from './store';

/** How long a break may last before people are told: clients are back within a second or two. */
export const GRACE_MS = 3_000;

export interface LinkState {
  up(): void;
  down(): void;
  refused(): void;
  dispose(): void;
}

/** Keeps a store of our own link; `onBroken` runs when a break has outlasted the grace. */
export function watchLink(store: Store<Link>, graceMs: number, onBroken?: () => void): LinkState {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = () => {
    clearTimeout(timer);
    timer = undefined;
  };
  return {
    up() {
      stop();
      store.set('connected');
    },
    down() {
      if (timer !== undefined || store.get() !== 'connected') return;
      timer = setTimeout(() => {
        timer = undefined;
        store.set('reconnecting');
        onBroken?.();
      }, graceMs);
    },
    refused() {
      stop();
      store.set('refused');
      onBroken?.();
    },
    dispose: stop,
  };
}

/** How long to wait before attempt `n` (from 0): quick at first, never all clients at once. */
export function backoffMs(attempt: number): number {
  const full = Math.min(10_000, 250 * 2 ** attempt);
  return full * (0.8 + 0.4 * Math.random());
}
