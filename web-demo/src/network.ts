// A person's own network, which can be cut: sockets end without a good-bye, requests fail.

import type { Relay } from './presence';

type Transport = Required<Pick<Relay, 'WebSocket' | 'EventSource' | 'fetch' | 'sendBeacon'>>;

export interface Network extends Transport {
  readonly isUp: () => boolean;
  readonly setUp: (isUp: boolean) => void;
  readonly subscribe: (watcher: () => void) => () => void;
}

/** How long a socket that was left hanging stays, once the network is back. */
const HANGING_MS = 2_000;

/**
 * `isLeftHanging` names the sockets that the relay should not see end. A browser cannot drop a
 * connection, only close it; where a relay treats the two differently, hanging is the truth: the
 * relay hears nothing more and finds out by itself.
 */
export function createNetwork(isLeftHanging: (url: string) => boolean): Network {
  let isUp = true;
  const watchers = new Set<() => void>();
  const sockets = new Set<CutSocket>();
  const sources = new Set<CutSource>();

  class CutSocket extends EventTarget {
    static readonly CONNECTING = 0;
    static readonly OPEN = 1;
    static readonly CLOSING = 2;
    static readonly CLOSED = 3;
    readonly CONNECTING = 0;
    readonly OPEN = 1;
    readonly CLOSING = 2;
    readonly CLOSED = 3;
    onopen: ((event: Event) => void) | null = null;
    onmessage: ((event: MessageEvent) => void) | null = null;
    onerror: ((event: Event) => void) | null = null;
    onclose: ((event: CloseEvent) => void) | null = null;
    readonly #real: WebSocket | null;
    readonly url: string;
    #isCut = false;

    constructor(url: string | URL, protocols?: string | string[]) {
      super();
      this.url = String(url);
      this.addEventListener('open', event => this.onopen?.(event));
      this.addEventListener('message', event => this.onmessage?.(event as MessageEvent));
      this.addEventListener('error', event => this.onerror?.(event));
      this.addEventListener('close', event => this.onclose?.(event as CloseEvent));
      this.#real = isUp ? new window.WebSocket(url, protocols) : null;
      if (this.#real === null) {
        queueMicrotask(() => this.cut());
        return;
      }
      sockets.add(this);
      const real = this.#real;
      real.addEventListener('open', () => this.#pass(new Event('open')));
      real.addEventListener('message', ({ data }: MessageEvent<unknown>) =>
        this.#pass(new MessageEvent('message', { data })),
      );
      real.addEventListener('error', () => this.#pass(new Event('error')));
      real.addEventListener('close', ({ code, reason, wasClean }) => {
        sockets.delete(this);
        this.#pass(new CloseEvent('close', { code, reason, wasClean }));
      });
    }

    get readyState(): number {
      return this.#isCut || this.#real === null ? 3 : this.#real.readyState;
    }
    get bufferedAmount(): number {
      return this.#real?.bufferedAmount ?? 0;
    }
    get protocol(): string {
      return this.#real?.protocol ?? '';
    }
    get extensions(): string {
      return '';
    }
    get binaryType(): BinaryType {
      return this.#real?.binaryType ?? 'blob';
    }
    set binaryType(type: BinaryType) {
      if (this.#real !== null) this.#real.binaryType = type;
    }

    send(data: string | Blob | BufferSource) {
      if (!this.#isCut) this.#real?.send(data);
    }

    close(code?: number, reason?: string) {
      if (!this.#isCut) this.#real?.close(code, reason);
    }

    cut() {
      if (this.#isCut) return;
      sockets.delete(this);
      const real = this.#real;
      if (real !== null && isLeftHanging(this.url)) {
        const unwatch = subscribe(() => {
          if (!isUp) return;
          unwatch();
          setTimeout(() => real.close(), HANGING_MS);
        });
      } else {
        real?.close();
      }
      this.#isCut = true;
      this.dispatchEvent(new Event('error'));
      this.dispatchEvent(new CloseEvent('close', { code: 1006, wasClean: false }));
    }

    #pass(event: Event) {
      if (!this.#isCut) this.dispatchEvent(event);
    }
  }

  class CutSource extends window.EventSource {
    constructor(url: string | URL) {
      // Without a network, a stream of nothing that fails.
      super(isUp ? url : 'data:,');
      sources.add(this);
    }
    override close() {
      sources.delete(this);
      super.close();
    }
  }

  const subscribe = (watcher: () => void) => {
    watchers.add(watcher);
    return () => void watchers.delete(watcher);
  };

  return {
    isUp: () => isUp,
    subscribe,
    setUp(next) {
      if (next === isUp) return;
      isUp = next;
      if (!isUp) {
        for (const socket of [...sockets]) socket.cut();
        for (const source of [...sources]) {
          // Closed first: what was under way must not arrive any more.
          source.close();
          source.dispatchEvent(new Event('error'));
        }
      }
      for (const watcher of [...watchers]) watcher();
      // What waits for its next attempt need not wait longer.
      if (isUp) window.dispatchEvent(new Event('online'));
    },
    WebSocket: CutSocket as unknown as typeof WebSocket,
    EventSource: CutSource,
    fetch: (...request) =>
      isUp ? window.fetch(...request) : Promise.reject(new TypeError('the network is cut')),
    sendBeacon: (url, body) => !isUp || navigator.sendBeacon(url, body),
  };
}
