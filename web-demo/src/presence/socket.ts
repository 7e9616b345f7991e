// A WebSocket that comes back: a fresh token for each attempt, and renewal while it is open.

import { backoffMs } from './link';
import type { Relay } from './model';

export interface SocketOptions {
  readonly relay: Relay;
  /** Below the relay's origin, such as `/ws/feed`. */
  readonly path: string;
  /** The key under which messages of this dialect say their type. */
  readonly typeKey?: 'type' | 't';
  readonly onOpen?: () => void;
  /** A message that is a JSON object; errors about tokens are dealt with here. */
  readonly onMessage: (message: Message) => void;
  readonly onBinary?: (bytes: Uint8Array) => void;
  readonly onDown: () => void;
  /** Closed for good: coming back would be refused again. */
  readonly onRefused: (reason: string) => void;
}

export type Message = Readonly<Record<string, unknown>>;

export interface Socket {
  /** Sends if the socket is open, and says whether; what is said meanwhile is for the next `onOpen` to repeat. */
  readonly send: (message: Message) => boolean;
  readonly sendBinary: (bytes: Uint8Array) => void;
  readonly close: () => void;
}

/** No access, a bad name, a connection taken over elsewhere. */
const FINAL_CODES = new Set([4400, 4403, 4409]);
const FULL_WAIT_MS = 5_000;

export function openSocket(options: SocketOptions): Socket {
  const { relay, path, typeKey = 'type' } = options;
  let socket: WebSocket | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attempt = 0;
  let isClosed = false;

  const retry = (ms = backoffMs(attempt++)) => {
    if (isClosed) return;
    clearTimeout(timer);
    timer = setTimeout(() => void connect(), ms);
  };

  const connect = async () => {
    timer = undefined;
    let token: string;
    try {
      token = await relay.token();
    } catch {
      return retry();
    }
    if (isClosed || socket !== undefined) return;
    const opened = new (relay.WebSocket ?? WebSocket)(socketUrl(relay, path, token));
    socket = opened;
    opened.binaryType = 'arraybuffer';
    opened.onopen = () => options.onOpen?.();
    opened.onmessage = ({ data }: MessageEvent) => {
      attempt = 0;
      if (typeof data === 'string') receive(data);
      else options.onBinary?.(new Uint8Array(data as ArrayBuffer));
    };
    opened.onclose = ({ code, reason }: CloseEvent) => {
      if (socket !== opened) return;
      socket = undefined;
      if (isClosed) return;
      if (FINAL_CODES.has(code) || reason === 'REVOKED') {
        isClosed = true;
        return options.onRefused(reason || `closed with ${code}`);
      }
      options.onDown();
      retry(reason === 'BOARD_FULL' ? FULL_WAIT_MS : undefined);
    };
  };

  const receive = (text: string) => {
    const message = parse(text);
    if (message === null) return;
    const code = (message.code ?? (message.payload as Message | undefined)?.code) as unknown;
    if (message[typeKey] === 'error' && code === 'TOKEN_REFRESH_REQUIRED') {
      relay.token().then(
        token => send({ [typeKey]: 'auth', token }),
        // The old token ends; the close that follows brings us back with a new one.
        () => undefined,
      );
    } else if (message[typeKey] !== 'auth:ok') {
      options.onMessage(message);
    }
  };

  const send = (message: Message) => {
    if (socket?.readyState !== 1) return false;
    socket.send(JSON.stringify(message));
    return true;
  };

  const now = () => {
    if (timer !== undefined) retry(0);
  };
  window.addEventListener('online', now);
  void connect();

  return {
    send,
    sendBinary(bytes) {
      if (socket?.readyState === 1) socket.send(bytes as Uint8Array<ArrayBuffer>);
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
      window.removeEventListener('online', now);
      const open = socket;
      socket = undefined;
      open?.close(1000);
    },
  };
}

function socketUrl(relay: Relay, path: string, token: string): string {
  return `${relay.url.replace(/^http/, 'ws')}${path}?token=${encodeURIComponent(token)}`;
}

function parse(text: string): Message | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Message) : null;
  } catch {
    return null;
  }
}
