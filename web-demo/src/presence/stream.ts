// Server-sent events that come back with a fresh token; each return begins with a snapshot.

import { backoffMs } from './link';
import type { Relay } from './model';

export interface StreamOptions {
  readonly relay: Relay;
  /** Below the relay's origin, with its query if it has one. */
  readonly path: string;
  readonly on: Readonly<Record<string, (data: unknown) => void>>;
  readonly onUp: () => void;
  readonly onDown: () => void;
}

/** Opens a stream; returns what closes it. */
export function openStream({ relay, path, on, onUp, onDown }: StreamOptions): () => void {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attempt = 0;
  let isClosed = false;

  const retry = () => {
    if (!isClosed) timer = setTimeout(() => void connect(), backoffMs(attempt++));
  };

  const connect = async () => {
    let token: string;
    try {
      token = await relay.token();
    } catch {
      return retry();
    }
    if (isClosed) return;
    const separator = path.includes('?') ? '&' : '?';
    const url = `${relay.url}${path}${separator}token=${encodeURIComponent(token)}`;
    const opened = new (relay.EventSource ?? EventSource)(url);
    source = opened;
    for (const [name, handle] of Object.entries(on)) {
      opened.addEventListener(name, event => {
        attempt = 0;
        onUp();
        handle(JSON.parse((event as MessageEvent<string>).data));
      });
    }
    // The browser would come back by itself, but with the old token.
    opened.onerror = () => {
      opened.close();
      if (isClosed) return;
      onDown();
      retry();
    };
  };

  void connect();
  return () => {
    isClosed = true;
    clearTimeout(timer);
    source?.close();
  };
}
