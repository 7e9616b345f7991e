import { act, cleanup, renderHook } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { FakeSource, fakeRelay, person, settle } from './testing';
import { usePresenceUnder, useRoomPresence } from './useRoomPresence';

let net: ReturnType<typeof fakeRelay>;

beforeEach(() => {
  vi.useFakeTimers();
  net = fakeRelay();
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const pass = (ms: number) => act(() => vi.advanceTimersByTimeAsync(ms));
const statuses = () => net.beats.map(beat => (beat.data as { status: string }).status);

async function open(options = {}) {
  const hook = renderHook(() => useRoomPresence(net.relay, 'event/gala/main', options));
  await settle();
  return hook;
}

describe('heartbeats', () => {
  it('begin at once, and name room, session and interval', async () => {
    await open({ intervalMs: 10_000 });
    expect(net.beats).toHaveLength(1);
    expect(net.beats[0]).toMatchObject({
      room: 'event/gala/main',
      interval: 10_000,
      data: { status: 'active' },
    });
    expect(net.beats[0]?.sessionId).toMatch(/^[0-9a-f]{24}$/);
  });

  it.each([
    [0, 9_000],
    [0.5, 10_000],
    [0.999, 10_998],
  ])('come after the interval ± 10 %% (random %d)', async (random, ms) => {
    vi.spyOn(Math, 'random').mockReturnValue(random);
    await open({ intervalMs: 10_000 });
    await pass(ms - 2);
    expect(net.beats).toHaveLength(1);
    await pass(4);
    expect(net.beats).toHaveLength(2);
  });

  it('stay one session, and go on after one that failed', async () => {
    const { fetch } = net.relay;
    let isDown = true;
    net.relay.fetch = ((url, init) =>
      isDown ? Promise.reject(new TypeError('offline')) : fetch(url, init)) as typeof globalThis.fetch;
    await open({ intervalMs: 1_000 });
    isDown = false;
    await pass(5_000);
    expect(net.beats.length).toBeGreaterThan(2);
    expect(new Set(net.beats.map(beat => beat.sessionId)).size).toBe(1);
  });

  it('end with a beacon when the component goes', async () => {
    const { unmount } = await open();
    unmount();
    expect(net.beacons).toEqual([{ sessionToken: 's-1' }]);
    const beats = net.beats.length;
    await pass(60_000);
    expect(net.beats).toHaveLength(beats);
    expect(FakeSource.last.isClosed).toBe(true);
  });

  it('end with a beacon when the page goes, once', async () => {
    const { unmount } = await open();
    window.dispatchEvent(new Event('pagehide'));
    unmount();
    expect(net.beacons).toHaveLength(1);
  });

  it('are another session when the page is shown again, and none in between', async () => {
    await open({ intervalMs: 1_000 });
    window.dispatchEvent(new Event('pageshow'));
    await pass(1_500);
    const first = net.beats[0]?.sessionId;
    expect(new Set(net.beats.map(beat => beat.sessionId))).toEqual(new Set([first]));
    window.dispatchEvent(new Event('pagehide'));
    document.dispatchEvent(new Event('visibilitychange'));
    const beats = net.beats.length;
    await pass(10_000);
    expect(net.beats).toHaveLength(beats);
    window.dispatchEvent(new Event('pageshow'));
    await pass(1_500);
    expect(net.beats.length).toBeGreaterThan(beats);
    expect(net.beats.slice(beats).map(beat => beat.sessionId)).not.toContain(first);
    expect(net.beacons).toEqual([{ sessionToken: 's-1' }]);
  });

  it('begin another session when theirs has left', async () => {
    let isFirst = true;
    const { fetch } = net.relay;
    net.relay.fetch = (async (url, init) => {
      const answer = await fetch(url, init);
      if (!isFirst) return answer;
      isFirst = false;
      return Response.json({ sessionToken: 's-0', left: true });
    }) as typeof globalThis.fetch;
    const { unmount } = await open({ intervalMs: 60_000 });
    await pass(2_000);
    expect(new Set(net.beats.map(beat => beat.sessionId)).size).toBe(2);
    unmount();
    expect(net.beacons).toEqual([{ sessionToken: 's-1' }]);
  });

  it('say good-bye also when the first answer comes too late', async () => {
    let answer: (response: Response) => void = () => undefined;
    net.relay.fetch = (() => new Promise(resolve => (answer = resolve))) as typeof globalThis.fetch;
    const { unmount } = await open();
    unmount();
    expect(net.beacons).toEqual([]);
    answer(Response.json({ sessionToken: 'late' }));
    await settle();
    expect(net.beacons).toEqual([{ sessionToken: 'late' }]);
  });
});

describe('typing', () => {
  it('is said at once, repeated rarely, and ends by itself', async () => {
    const { result } = await open({ intervalMs: 60_000 });
    // As components have it: taken out of what the hook returns.
    const { setTyping } = result.current;
    await pass(2_000);
    for (let key = 0; key < 20; key += 1) {
      act(() => setTyping(true));
      await settle();
      expect(statuses()).toEqual(['active', 'typing']);
      await pass(100);
    }
    await pass(3_000);
    expect(statuses()).toEqual(['active', 'typing', 'active']);
  });

  it('is repeated before the relay lets it end', async () => {
    const { result } = await open({ intervalMs: 60_000 });
    await pass(2_000);
    for (let key = 0; key < 30; key += 1) {
      act(() => result.current.setTyping(true));
      await pass(200);
    }
    expect(statuses().filter(status => status === 'typing')).toHaveLength(3);
  });

  it('ends with the message', async () => {
    const { result } = await open({ intervalMs: 60_000 });
    await pass(2_000);
    act(() => result.current.setTyping(true));
    await pass(500);
    act(() => result.current.setTyping(false));
    act(() => result.current.setTyping(false));
    await pass(1_000);
    expect(statuses()).toEqual(['active', 'typing', 'active']);
  });

  it('is told within what the relay takes from a user, however quickly messages are written', async () => {
    const { result } = await open({ intervalMs: 4_000 });
    for (let message = 0; message < 25; message += 1) {
      act(() => result.current.setTyping(true));
      await pass(200);
      act(() => result.current.setTyping(false));
      await pass(200);
    }
    expect(net.beats.length).toBeLessThanOrEqual(10);
    await pass(1_200);
    expect(statuses().at(-1)).toBe('active');
  });
});

describe('the roster', () => {
  it('follows the stream', async () => {
    const { result } = await open();
    expect(FakeSource.last.url).toBe(
      'http://relay.test/v1/rooms/event/gala/main/presence/stream?token=token-1',
    );
    FakeSource.last.say('snapshot', { room: 'r', participants: [person('ann')] });
    FakeSource.last.say('joined', person('bob'));
    FakeSource.last.say('changed', person('bob', { status: 'typing' }));
    FakeSource.last.say('left', person('ann', { isConnected: false, status: 'offline' }));
    expect(result.current.participants.map(p => [p.userId, p.status])).toEqual([
      ['bob', 'typing'],
      ['ann', 'offline'],
    ]);
    expect(result.current.link).toBe('connected');
  });

  it('does not flash when the stream breaks, and comes back with a fresh token', async () => {
    let draws = 0;
    const { result } = renderHook(() => {
      draws += 1;
      return useRoomPresence(net.relay, 'event/gala/main');
    });
    await settle();
    FakeSource.last.say('snapshot', { room: 'r', participants: [person('ann')] });
    const before = draws;
    const first = FakeSource.last;
    first.fail();
    await pass(1_000);
    expect(first.isClosed).toBe(true);
    expect(FakeSource.last).not.toBe(first);
    expect(FakeSource.last.url).not.toBe(first.url);
    FakeSource.last.say('snapshot', { room: 'r', participants: [person('ann')] });
    await pass(5_000);
    expect(draws).toBe(before);
    expect(result.current.link).toBe('connected');
  });

  it('says so when the break lasts', async () => {
    const { result } = await open();
    FakeSource.last.say('snapshot', { room: 'r', participants: [] });
    FakeSource.last.fail();
    await pass(3_100);
    expect(result.current.link).toBe('reconnecting');
  });
});

it('shows all rooms below a prefix, and counts people once', async () => {
  const { result } = renderHook(() => usePresenceUnder(net.relay, 'event/gala'));
  await settle();
  const room = (name: string, ...users: string[]) => ({
    room: `event/gala/${name}`,
    activeUsers: users.map(user => person(user)),
    activeCount: users.length,
  });
  FakeSource.last.say('snapshot', {
    under: 'event/gala',
    rooms: [room('main', 'ann', 'bob'), room('bar', 'ann')],
    totalActiveUsers: 2,
  });
  const names = () => result.current.rooms.map(({ room, activeCount }) => [room, activeCount]);
  expect(names()).toEqual([
    ['event/gala/bar', 1],
    ['event/gala/main', 2],
  ]);
  expect(result.current.totalActiveUsers).toBe(2);
  const before = result.current;
  FakeSource.last.say('changed', room('bar', 'ann'));
  expect(result.current).toBe(before);
  FakeSource.last.say('changed', room('bar'));
  FakeSource.last.say('changed', room('vip', 'cy'));
  expect(names()).toEqual([
    ['event/gala/main', 2],
    ['event/gala/vip', 1],
  ]);
  expect(result.current.totalActiveUsers).toBe(3);
});
