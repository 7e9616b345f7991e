// A value that components can watch, and the hook that watches it.

import { useSyncExternalStore } from 'react';

export interface Store<T> {
  readonly get: () => T;
  /** Tells the watchers, unless it is what it was. */
  readonly set: (next: T) => void;
  readonly subscribe: (watcher: () => void) => () => void;
}

export function createStore<T>(initial: T): Store<T> {
  let value = initial;
  const watchers = new Set<() => void>();
  return {
    get: () => value,
    set(next) {
      if (Object.is(value, next)) return;
      value = next;
      for (const watcher of [...watchers]) watcher();
    },
    subscribe(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
  };
}

export function useStore<T>(store: Store<T>): T {
  return useSyncExternalStore(store.subscribe, store.get, store.get);
}
