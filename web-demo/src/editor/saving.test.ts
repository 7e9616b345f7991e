// @vitest-environment node

import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { ASK_AFTER_MS, createSaving, type SavingProvider } from './saving';

/** A provider, of which the test plays the relay. */
class Provider implements SavingProvider {
  unsyncedChanges = 0;
  synced = false;
  asked = 0;
  readonly #listeners = new Map<string, Set<(data: never) => void>>();
  readonly #updates = new Set<(update: Uint8Array, origin: unknown) => void>();
  readonly document = {
    on: (_: 'update', listener: (update: Uint8Array, origin: unknown) => void) =>
      this.#updates.add(listener),
    off: (_: 'update', listener: (update: Uint8Array, origin: unknown) => void) =>
      this.#updates.delete(listener),
  };

  sendToken() {
    this.asked += 1;
    return Promise.resolve();
  }
  on(event: string, listener: (data: never) => void) {
    this.#listeners.set(event, (this.#listeners.get(event) ?? new Set()).add(listener));
  }
  off(event: string, listener: (data: never) => void) {
    this.#listeners.get(event)?.delete(listener);
  }
  emit(event: string, data: unknown = {}) {
    for (const listener of this.#listeners.get(event) ?? []) listener(data as never);
  }

  connect() {
    this.synced = true;
    this.emit('status', { status: 'connected' });
    this.emit('synced');
  }
  disconnect() {
    this.synced = false;
    this.emit('status', { status: 'disconnected' });
    this.emit('close');
  }
  edit() {
    this.unsyncedChanges += 1;
    for (const listener of this.#updates) listener(new Uint8Array(), null);
    this.emit('unsyncedChanges');
  }
  acknowledge() {
    this.unsyncedChanges -= 1;
    this.emit('unsyncedChanges');
  }
}

let provider: Provider;
let close: () => void;
let state: () => string;

beforeEach(() => {
  vi.useFakeTimers();
  provider = new Provider();
  const saving = createSaving(provider);
  close = saving.open();
  state = saving.state.get;
});

afterEach(() => {
  close();
  vi.useRealTimers();
});

it('waits without a connection', () => {
  expect(state()).toBe('waiting');
  provider.edit();
  expect(state()).toBe('waiting');
});

it('is on disk only when every edit has been acknowledged', () => {
  provider.connect();
  expect(state()).toBe('on disk');
  provider.edit();
  provider.edit();
  expect(state()).toBe('sending');
  provider.acknowledge();
  expect(state()).toBe('sending');
  provider.acknowledge();
  expect(state()).toBe('on disk');
});

it('asks nothing of a relay whose disk is quick', () => {
  provider.connect();
  provider.edit();
  vi.advanceTimersByTime(ASK_AFTER_MS - 1);
  provider.acknowledge();
  vi.advanceTimersByTime(10_000);
  expect(provider.asked).toBe(0);
});

it('is received when the relay has answered what was asked after the edit', () => {
  provider.connect();
  provider.edit();
  vi.advanceTimersByTime(ASK_AFTER_MS);
  expect([provider.asked, state()]).toEqual([1, 'sending']);
  provider.emit('authenticated');
  expect(state()).toBe('received');
  provider.acknowledge();
  expect(state()).toBe('on disk');
});

it('is not received when there was an edit after the question', () => {
  provider.connect();
  provider.edit();
  vi.advanceTimersByTime(ASK_AFTER_MS);
  provider.edit();
  provider.emit('authenticated');
  expect(state()).toBe('sending');
  vi.advanceTimersByTime(ASK_AFTER_MS);
  expect(provider.asked).toBe(2);
  provider.emit('authenticated');
  expect(state()).toBe('received');
});

it('takes no answer from an earlier connection for one', () => {
  provider.connect();
  provider.edit();
  vi.advanceTimersByTime(ASK_AFTER_MS);
  provider.disconnect();
  expect(state()).toBe('waiting');
  provider.connect();
  provider.emit('authenticated');
  expect(state()).toBe('sending');
});
