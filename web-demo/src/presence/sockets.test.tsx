import { act, cleanup, render, renderHook, screen } from '@testing-library/react';
import { Profiler } from 'react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { PresenceBar } from './PresenceBar';
import { FakeSocket, fakeRelay, settle } from './testing';
import { useBoard, useBoardCursors, useBoardPresence } from './useBoardPresence';
import { apply, useFeed } from './useFeed';
import { useFollow, useWorkspacePresence } from './useWorkspacePresence';

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

describe('a board', () => {
  const user = (user_id: string, status = 'online') => ({
    user_id,
    display_name: user_id,
    avatar_url: null,
    status,
    color: '#112233',
  });
  const say = (type: string, payload: object) => FakeSocket.last.say({ type, payload });
  const joined = (...users: object[]) =>
    say('board:joined', { board_id: 'b', session_id: 's', current_users: users });

  async function open() {
    const hook = renderHook(() => {
      const board = useBoard(net.relay, 'b 1', 'me');
      return { board, presence: useBoardPresence(board), cursors: useBoardCursors(board) };
    });
    await settle();
    FakeSocket.last.open();
    return hook;
  }
  const people = ({ presence }: { presence: ReturnType<typeof useBoardPresence> }) =>
    presence.participants.map(({ userId, status }) => `${userId} ${status}`);

  it('shows who is there and what they do', async () => {
    const { result } = await open();
    expect(FakeSocket.last.url).toBe('ws://relay.test/ws/boards/b%201?token=token-1');
    expect(result.current.presence.phase).toBe('connecting');
    joined(user('me'), user('ann'));
    expect(people(result.current)).toEqual(['ann online', 'me online']);
    say('user:joined', { board_id: 'b', ...user('bob') });
    say('presence:update', { board_id: 'b', user_id: 'ann', status: 'idle' });
    say('user:left', { board_id: 'b', user_id: 'bob' });
    expect(people(result.current)).toEqual(['ann idle', 'me online']);
  });

  it('queues, tells the position, and lets in', async () => {
    const { result } = await open();
    say('board:queued', { board_id: 'b', position: 2 });
    expect(result.current.presence).toMatchObject({ phase: 'queued', position: 2 });
    say('board:queued', { board_id: 'b', position: 1 });
    expect(result.current.presence.position).toBe(1);
    joined(user('me'));
    expect(result.current.presence).toMatchObject({ phase: 'joined', position: null });
  });

  it('tries a full board again later', async () => {
    const { result } = await open();
    say('error', { code: 'BOARD_FULL', message: 'full' });
    FakeSocket.last.end(1013, 'BOARD_FULL');
    expect(result.current.presence.phase).toBe('full');
    await pass(4_000);
    expect(FakeSocket.all).toHaveLength(1);
    await pass(2_000);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it('is refused for good', async () => {
    const { result } = await open();
    FakeSocket.last.end(4403, 'FORBIDDEN');
    await pass(60_000);
    expect(FakeSocket.all).toHaveLength(1);
    expect(result.current.presence.phase).toBe('refused');
  });

  it('gives a sign of life every 30 s ± 10 %', async () => {
    await open();
    joined(user('me'));
    await pass(95_000);
    const beats = FakeSocket.last.sent.filter(
      message => (message as { type: string }).type === 'heartbeat',
    );
    expect(beats.length).toBeGreaterThanOrEqual(2);
    expect(beats.length).toBeLessThanOrEqual(3);
  });

  it('shows pointers, but draws no face again for them', async () => {
    let renders = 0;
    function Bar() {
      const board = useBoard(net.relay, 'b', 'me');
      const presence = useBoardPresence(board);
      return (
        <Profiler id="bar" onRender={() => (renders += 1)}>
          <PresenceBar presence={presence} self="me" />
        </Profiler>
      );
    }
    render(<Bar />);
    await settle();
    FakeSocket.last.open();
    joined(user('me'), user('ann'));
    const before = renders;
    for (let x = 0; x < 50; x += 1) {
      say('presence:update', { board_id: 'b', user_id: 'ann', status: 'online', cursor: { x, y: 1 } });
    }
    expect(renders).toBe(before);
    say('presence:update', { board_id: 'b', user_id: 'ann', status: 'away' });
    expect(renders).toBe(before + 1);
    expect(screen.getByText('away')).toBeTruthy();
  });

  it('keeps the pointers of those who are there', async () => {
    const { result } = await open();
    joined(user('me'), user('ann'));
    say('presence:update', { board_id: 'b', user_id: 'ann', status: 'online', cursor: { x: 3, y: 4 } });
    expect(result.current.cursors).toEqual({ ann: { x: 3, y: 4 } });
    say('user:left', { board_id: 'b', user_id: 'ann' });
    expect(result.current.cursors).toEqual({});
  });

  it('hands binary frames to whoever wants them', async () => {
    const { result } = await open();
    const frames: Uint8Array[] = [];
    result.current.board.onBinary(bytes => frames.push(bytes));
    FakeSocket.last.say(new Uint8Array([0, 0, 1]));
    expect(frames).toEqual([new Uint8Array([0, 0, 1])]);
  });

  it('does not flash on a short break; after a long one the bar is empty', async () => {
    const { result } = await open();
    joined(user('me'), user('ann'));
    const before = result.current.presence;
    FakeSocket.last.end();
    await pass(400);
    FakeSocket.last.open();
    joined(user('me'), user('ann'));
    await pass(4_000);
    expect(result.current.presence).toBe(before);
    FakeSocket.last.end();
    await pass(3_100);
    expect(result.current.presence).toMatchObject({ phase: 'connecting', link: 'reconnecting' });
    expect(people(result.current)).toEqual([]);
  });

  it('renews its token when asked', async () => {
    await open();
    say('error', { code: 'TOKEN_REFRESH_REQUIRED', message: 'soon' });
    await settle();
    expect(FakeSocket.last.sent).toContainEqual({ type: 'auth', token: 'token-2' });
  });
});

describe('a workspace', () => {
  const ann = { userId: 'ann', userName: 'Ann', userImage: null, currentPath: '/docs/plan' };

  async function open(followed: string | null = null) {
    const moves: string[] = [];
    const hook = renderHook(
      ({ path }: { path: string }) => {
        const presence = useWorkspacePresence(net.relay, 'w1', { currentPath: path });
        const leader = useFollow(presence.presenceMap, followed, to => moves.push(to));
        return { ...presence, leader };
      },
      { initialProps: { path: '/home' } },
    );
    await pass(50);
    FakeSocket.last.open();
    return { ...hook, moves };
  }

  it('says where we are on connecting and on every move', async () => {
    const { rerender } = await open();
    expect(FakeSocket.last.url).toMatch(
      /^ws:\/\/relay\.test\/parties\/presence\/presence-w1\?.*token=token-1/,
    );
    rerender({ path: '/docs/plan' });
    rerender({ path: '/docs/plan' });
    expect(FakeSocket.last.sent).toEqual([
      { type: 'presence_update', currentPath: '/home' },
      { type: 'presence_update', currentPath: '/docs/plan' },
    ]);
  });

  it('knows where everybody is', async () => {
    const { result } = await open();
    FakeSocket.last.say({ type: 'presence_snapshot', users: [ann] });
    FakeSocket.last.say({ type: 'user_joined', userId: 'bob', userName: 'Bob', userImage: '/b.png' });
    FakeSocket.last.say({
      type: 'presence_changed',
      userId: 'bob',
      userName: 'Bob',
      currentPath: '/home',
    });
    expect([...result.current.presenceMap.values()]).toEqual([
      ann,
      { userId: 'bob', userName: 'Bob', userImage: '/b.png', currentPath: '/home' },
    ]);
    FakeSocket.last.say({ type: 'user_left', userId: 'ann' });
    expect([...result.current.presenceMap.keys()]).toEqual(['bob']);
  });

  it('moves us with whom we follow, and no longer when they are gone', async () => {
    const { result, moves } = await open('ann');
    expect(result.current.leader).toBeNull();
    FakeSocket.last.say({ type: 'presence_snapshot', users: [ann] });
    const moved = { type: 'presence_changed', userId: 'ann', userName: 'Ann' };
    FakeSocket.last.say({ ...moved, currentPath: '/docs/budget' });
    FakeSocket.last.say({ ...moved, currentPath: '/docs/budget' });
    expect(moves).toEqual(['/docs/plan', '/docs/budget']);
    FakeSocket.last.say({ type: 'user_left', userId: 'ann' });
    expect(result.current.leader).toBeNull();
    expect(moves).toHaveLength(2);
  });
});

describe('the feed', () => {
  async function open() {
    const hook = renderHook(() => useFeed(net.relay));
    await settle();
    FakeSocket.last.open();
    return hook;
  }
  const hello = (resume: string, resumed = false) =>
    FakeSocket.last.say({ t: 'hello', resume, window: 60, resumed });
  const ann = { username: 'ann', s: 'Online', a: 'Coding', p: 'app', l: 'Rust' };

  it('takes the list, then only changes', async () => {
    const { result } = await open();
    expect(FakeSocket.last.sent).toEqual([{ t: 'login' }]);
    hello('r1');
    FakeSocket.last.say({
      t: 'sync',
      users: [{ username: 'bob', s: 'Offline', ts: 5 }, ann],
    });
    FakeSocket.last.say({ t: 'u', id: 'ann', a: 'Debugging' });
    FakeSocket.last.say({ t: 'o', id: 'bob', s: 'Away', a: 'Idle', p: '', l: 'Go' });
    expect(result.current.users).toMatchObject([
      { username: 'ann', activity: 'Debugging', project: 'app' },
      { username: 'bob', status: 'Away', language: 'Go' },
    ]);
    FakeSocket.last.say({ t: 'x', id: 'ann', ts: 1_700_000_000_000 });
    expect(result.current.users[1]).toMatchObject({
      username: 'ann',
      status: 'Offline',
      lastSeen: 1_700_000_000_000,
    });
  });

  it('says in its login how it begins, so that nobody sees who hides', async () => {
    const { result } = renderHook(() => useFeed(net.relay));
    act(() => result.current.update({ status: 'Invisible', project: 'app' }));
    await settle();
    FakeSocket.last.open();
    hello('r1');
    expect(FakeSocket.last.sent).toEqual([{ t: 'login', s: 'Invisible', p: 'app' }]);
    FakeSocket.last.end();
    act(() => result.current.update({ activity: 'Coding' }));
    await pass(500);
    FakeSocket.last.open();
    hello('r2', true);
    expect(FakeSocket.last.sent).toEqual([{ t: 'login', resume: 'r1', s: 'Invisible', a: 'Coding' }]);
  });

  it('comes back with its resume token, and says nothing again', async () => {
    const { result } = await open();
    hello('r1');
    act(() => result.current.update({ activity: 'Coding' }));
    FakeSocket.last.end();
    await pass(500);
    FakeSocket.last.open();
    hello('r2', true);
    expect(FakeSocket.last.sent).toEqual([{ t: 'login', resume: 'r1' }]);
    expect(result.current.link).toBe('connected');
  });

  it('says everything again when it could not be resumed', async () => {
    const { result } = await open();
    hello('r1');
    act(() => result.current.update({ status: 'Invisible', activity: 'Coding' }));
    FakeSocket.last.end();
    await pass(500);
    FakeSocket.last.open();
    hello('r2');
    expect(FakeSocket.last.sent.at(-1)).toEqual({ t: 'statusUpdate', s: 'Invisible', a: 'Coding' });
  });

  it('stays away when it was taken over elsewhere, and logs out when the page goes', async () => {
    const { result, unmount } = await open();
    hello('r1');
    FakeSocket.last.end(4409, 'REPLACED');
    await pass(60_000);
    expect(result.current.link).toBe('refused');
    expect(FakeSocket.all).toHaveLength(1);
    unmount();
    const { unmount: leave } = await open();
    leave();
    expect(FakeSocket.last.sent.at(-1)).toEqual({ t: 'logout' });
    expect(FakeSocket.last.closedWith).toBe(1000);
  });

  it('hears of somebody for the first time', () => {
    expect(apply([], { t: 'x', id: 'new', ts: null })).toMatchObject([
      { username: 'new', status: 'Offline', lastSeen: null },
    ]);
  });
});
