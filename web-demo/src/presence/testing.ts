// Stand-ins for the browser's network, for tests: they do nothing until the test says so.

import { act } from '@testing-library/react';
import { Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';

import type { Participant, Relay } from './model';

export class FakeSocket extends EventTarget {
  static all: FakeSocket[] = [];
  static get last(): FakeSocket {
    const last = FakeSocket.all.at(-1);
    if (last === undefined) throw new Error('no socket was opened');
    return last;
  }

  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSING = 2;
  static readonly CLOSED = 3;
  readyState = 0;
  binaryType = 'blob';
  readonly sent: unknown[] = [];
  closedWith: number | undefined;
  onopen: ((event: Event) => void) | null = null;
  onmessage: ((event: MessageEvent) => void) | null = null;
  onclose: ((event: CloseEvent) => void) | null = null;

  constructor(readonly url: string) {
    super();
    FakeSocket.all.push(this);
    this.addEventListener('open', event => this.onopen?.(event));
    this.addEventListener('message', event => this.onmessage?.(event as MessageEvent));
    this.addEventListener('close', event => this.onclose?.(event as CloseEvent));
  }

  send(data: string | Uint8Array) {
    this.sent.push(typeof data === 'string' ? JSON.parse(data) : data);
  }

  close(code = 1000) {
    this.closedWith = code;
    this.readyState = 3;
  }

  /** The relay accepts. */
  open() {
    this.readyState = 1;
    act(() => void this.dispatchEvent(new Event('open')));
  }

  /** The relay says something. */
  say(message: unknown) {
    const data = message instanceof Uint8Array ? message.buffer : JSON.stringify(message);
    act(() => void this.dispatchEvent(new MessageEvent('message', { data })));
  }

  /** The connection ends. */
  end(code = 1006, reason = '') {
    this.readyState = 3;
    act(() => void this.dispatchEvent(new CloseEvent('close', { code, reason })));
  }
}

export class FakeSource extends EventTarget {
  static all: FakeSource[] = [];
  static get last(): FakeSource {
    const last = FakeSource.all.at(-1);
    if (last === undefined) throw new Error('no stream was opened');
    return last;
  }

  isClosed = false;
  onerror: (() => void) | null = null;

  constructor(readonly url: string) {
    super();
    FakeSource.all.push(this);
  }

  close() {
    this.isClosed = true;
  }

  say(name: string, data: unknown) {
    const event = new MessageEvent(name, { data: JSON.stringify(data) });
    act(() => void this.dispatchEvent(event));
  }

  fail() {
    act(() => this.onerror?.());
  }
}

/** A relay whose requests are recorded; forgets the sockets of the test before. */
export function fakeRelay() {
  FakeSocket.all = [];
  FakeSource.all = [];
  const beats: Record<string, unknown>[] = [];
  const beacons: unknown[] = [];
  let tokens = 0;
  const relay = {
    url: 'http://relay.test',
    token: () => Promise.resolve(`token-${++tokens}`),
    WebSocket: FakeSocket as unknown as typeof WebSocket,
    EventSource: FakeSource as unknown as typeof EventSource,
    fetch: ((_url: string, init: RequestInit) => {
      beats.push(JSON.parse(init.body as string) as Record<string, unknown>);
      return Promise.resolve(Response.json({ sessionToken: 's-1' }));
    }) as typeof fetch,
    sendBeacon: (_url: string, body: string) => beacons.push(JSON.parse(body)) > 0,
  } satisfies Relay;
  return { relay, beats, beacons };
}

/** Lets promises that are due settle. */
export async function settle() {
  await act(async () => {
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  });
}

export function person(userId: string, more: Partial<Participant> = {}): Participant {
  return {
    userId,
    name: userId[0]!.toUpperCase() + userId.slice(1),
    avatar: null,
    role: null,
    color: null,
    status: 'online',
    isConnected: true,
    lastSeen: '2026-01-01T10:00:00.000Z',
    data: null,
    ...more,
  };
}

/** A provider with a real awareness; others are put into it by hand. */
export class FakeProvider {
  readonly doc = new Y.Doc();
  readonly awareness = new Awareness(this.doc);
  synced = false;
  readonly #listeners = new Map<string, Set<(event: unknown) => void>>();

  on(event: string, listener: (event: unknown) => void) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
  }

  off(event: string, listener: (event: unknown) => void) {
    this.#listeners.get(event)?.delete(listener);
  }

  emit(event: string, data: unknown = {}) {
    act(() => {
      for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(data);
    });
  }

  listenerCount() {
    return [...this.#listeners.values()].reduce((sum, listeners) => sum + listeners.size, 0);
  }

  /** The link is up and the relay has answered. */
  connect() {
    this.synced = true;
    this.emit('status', { status: 'connected' });
    this.emit('synced', { state: true });
  }

  /**
   * The link is lost; as providers do, everybody else is forgotten. Hocuspocus says first that the
   * link is lost, y-websocket that it is no longer in sync.
   */
  disconnect(like: 'hocuspocus' | 'y-websocket' = 'hocuspocus') {
    this.synced = false;
    if (like === 'hocuspocus') this.emit('status', { status: 'disconnected' });
    else this.emit('synced', false);
    for (const client of [...this.awareness.getStates().keys()]) {
      if (client !== this.doc.clientID) this.leave(client);
    }
    if (like === 'y-websocket') this.emit('status', { status: 'disconnected' });
  }

  /** Somebody else's state arrives. */
  arrive(client: number, state: Record<string, unknown>) {
    const { awareness } = this;
    const isNew = !awareness.states.has(client);
    act(() => {
      awareness.states.set(client, state);
      const changes = { added: isNew ? [client] : [], updated: isNew ? [] : [client], removed: [] };
      awareness.emit('change', [changes, 'test']);
      awareness.emit('update', [changes, 'test']);
    });
  }

  /** Somebody else's state is renewed, unchanged. */
  renew(client: number) {
    act(() =>
      this.awareness.emit('update', [{ added: [], updated: [client], removed: [] }, 'test']),
    );
  }

  leave(client: number) {
    act(() => {
      this.awareness.states.delete(client);
      this.awareness.emit('change', [{ added: [], updated: [], removed: [client] }, 'test']);
    });
  }

  destroy() {
    this.awareness.destroy();
    this.doc.destroy();
  }
}
