import { act, cleanup, render, renderHook, screen } from '@testing-library/react';
import { Profiler } from 'react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { CoachingSessionTitle } from './CoachingSessionTitle';
import { FakeProvider } from './testing';
import { presenceOf, useSessionPresence } from './useSessionPresence';

const relationship = {
  coach: { userId: 'john', name: 'John Smith' },
  coachee: { userId: 'jane', name: 'Jane Doe' },
};
const john = { userId: 'john', name: 'John Smith', role: 'coach', color: '#0f766e' };
const jane = { userId: 'jane', name: 'Jane Doe', role: 'coachee', color: '#b45309' };
const JANE = 7;

let provider: FakeProvider;

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime('2026-01-01T10:00:00.000Z');
  provider = new FakeProvider();
});

afterEach(() => {
  cleanup();
  provider.destroy();
  vi.useRealTimers();
});

const open = () => renderHook(() => useSessionPresence(provider, john));
const pass = (ms: number) => act(() => void vi.advanceTimersByTime(ms));

describe('awareness field', () => {
  const field = () => provider.awareness.getLocalState()?.presence as Record<string, unknown>;

  it('is set when the page opens', () => {
    open();
    expect(field()).toEqual({ ...john, isConnected: true, lastSeen: '2026-01-01T10:00:00.000Z' });
  });

  it('changes with the person, and leaves the caret alone', () => {
    provider.awareness.setLocalStateField('user', { name: 'John', color: '#000000' });
    const { rerender } = renderHook(
      ({ me }: { me: typeof john }) => useSessionPresence(provider, me),
      { initialProps: { me: john } },
    );
    rerender({ me: { ...john, name: 'John S.' } });
    expect(field().name).toBe('John S.');
    expect(provider.awareness.getLocalState()?.user).toEqual({ name: 'John', color: '#000000' });
  });

  it('is not said again for an equal person', () => {
    const said = vi.spyOn(provider.awareness, 'setLocalStateField');
    const { rerender } = renderHook(() => useSessionPresence(provider, { ...john }));
    rerender();
    rerender();
    expect(said).toHaveBeenCalledTimes(1);
  });

  it('goes when the page is left, with every listener', () => {
    const { unmount } = open();
    unmount();
    expect(field()).toBeNull();
    expect(provider.listenerCount()).toBe(0);
  });

  it('stays when the tab is in the background, and comes back with a restored page', () => {
    open();
    document.dispatchEvent(new Event('visibilitychange'));
    expect(field().isConnected).toBe(true);
    // What providers do on `pagehide`.
    act(() => provider.awareness.setLocalState(null));
    window.dispatchEvent(new Event('pageshow'));
    expect(field().isConnected).toBe(true);
  });
});

describe('presence state', () => {
  const isThere = (result: { current: ReturnType<typeof useSessionPresence> }, userId: string) =>
    presenceOf(result.current, userId)?.isConnected ?? false;

  it('shows nobody before the link is up, oneself included', () => {
    const { result } = open();
    expect(result.current.link).toBe('connecting');
    expect(isThere(result, 'john')).toBe(false);
    provider.connect();
    expect(result.current.link).toBe('connected');
    expect(isThere(result, 'john')).toBe(true);
  });

  it('shows arrival and leaving at once, and remembers when', () => {
    const { result } = open();
    provider.connect();
    provider.arrive(JANE, { presence: jane });
    expect(isThere(result, 'jane')).toBe(true);
    vi.setSystemTime('2026-01-01T10:30:00.000Z');
    provider.leave(JANE);
    expect(presenceOf(result.current, 'jane')).toMatchObject({
      isConnected: false,
      status: 'offline',
      role: 'coachee',
      lastSeen: '2026-01-01T10:30:00.000Z',
    });
  });

  it('keeps somebody connected until their last tab closes, and shows the one that moved last', () => {
    const { result } = open();
    provider.connect();
    provider.arrive(1, { presence: { ...jane, color: '#111111' } });
    provider.arrive(2, { presence: { ...jane, color: '#222222' } });
    expect(presenceOf(result.current, 'jane')?.color).toBe('#222222');
    provider.arrive(1, { presence: { ...jane, color: '#333333' } });
    expect(presenceOf(result.current, 'jane')?.color).toBe('#333333');
    provider.leave(1);
    expect(presenceOf(result.current, 'jane')).toMatchObject({ isConnected: true, color: '#222222' });
    provider.leave(2);
    expect(isThere(result, 'jane')).toBe(false);
  });

  it.each(['hocuspocus', 'y-websocket'] as const)('does not flash when the link of %s breaks for a moment', like => {
    const seen: boolean[] = [];
    const { result } = renderHook(() => {
      const presence = useSessionPresence(provider, john);
      seen.push(presenceOf(presence, 'jane')?.isConnected ?? false);
      return presence;
    });
    provider.connect();
    provider.arrive(JANE, { presence: jane });
    seen.length = 0;
    provider.disconnect(like);
    pass(1_000);
    provider.connect();
    pass(200);
    provider.arrive(JANE, { presence: jane });
    pass(10_000);
    expect(seen).not.toContain(false);
    expect(result.current.link).toBe('connected');
  });

  it('turns everybody black when our link stays broken, and green on return', () => {
    const { result } = open();
    provider.connect();
    provider.arrive(JANE, { presence: jane });
    provider.disconnect();
    pass(2_900);
    expect(isThere(result, 'jane')).toBe(true);
    pass(200);
    expect([isThere(result, 'john'), isThere(result, 'jane')]).toEqual([false, false]);
    expect(result.current.link).toBe('reconnecting');
    provider.connect();
    expect([isThere(result, 'john'), isThere(result, 'jane')]).toEqual([true, false]);
    provider.arrive(JANE, { presence: jane });
    expect(isThere(result, 'jane')).toBe(true);
  });

  it('finds out about those who left while we were away', () => {
    const { result } = open();
    provider.connect();
    provider.arrive(JANE, { presence: jane });
    provider.disconnect();
    pass(500);
    provider.connect();
    pass(3_000);
    expect(isThere(result, 'jane')).toBe(false);
  });

  it('is refused when the relay lets us not in', () => {
    const { result } = open();
    provider.emit('authenticationFailed', { reason: 'FORBIDDEN' });
    expect(result.current.link).toBe('refused');
  });

  it('ignores states that say nothing about presence', () => {
    const { result } = open();
    provider.connect();
    provider.arrive(3, { user: { name: 'Caret' } });
    provider.arrive(4, { presence: 'here' });
    provider.arrive(5, { presence: { name: 'No id' } });
    expect(result.current.participants).toHaveLength(1);
  });
});

it('draws again only when what it shows has changed', () => {
  let renders = 0;
  function Page() {
    const presence = useSessionPresence(provider, john);
    return (
      <Profiler id="title" onRender={() => (renders += 1)}>
        <CoachingSessionTitle relationship={relationship} presence={presence} />
      </Profiler>
    );
  }
  render(<Page />);
  provider.connect();
  provider.arrive(JANE, { presence: jane });
  expect(screen.getByTitle('Jane Doe: connected')).toBeTruthy();
  const before = renders;
  // Carets move, states are renewed, the own state is said again: a busy minute.
  for (let turn = 0; turn < 50; turn += 1) {
    provider.arrive(JANE, { presence: { ...jane }, cursor: { anchor: turn, head: turn } });
    provider.renew(JANE);
    act(() => provider.awareness.setLocalStateField('cursor', { anchor: turn }));
  }
  expect(renders).toBe(before);
  provider.leave(JANE);
  expect(renders).toBe(before + 1);
});
