import { cleanup, render, screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { afterEach, describe, expect, it } from 'vitest';

import { CoachingSessionTitle } from './CoachingSessionTitle';
import { FacePile } from './FacePile';
import type { Participant } from './model';
import { PresenceBar } from './PresenceBar';
import { EMPTY, snapshot } from './roster';
import { person } from './testing';
import { TypingIndicator } from './TypingIndicator';
import type { BoardPresence } from './useBoardPresence';

afterEach(cleanup);

const relationship = {
  coach: { userId: 'john', name: 'John Smith' },
  coachee: { userId: 'jane', name: 'Jane Doe' },
};

describe('CoachingSessionTitle', () => {
  const show = (...participants: Participant[]) => {
    const presence = { participants: snapshot(EMPTY, participants), link: 'connected' as const };
    return render(<CoachingSessionTitle relationship={relationship} presence={presence} />);
  };
  const dots = (container: HTMLElement) =>
    [...container.querySelectorAll('.presence-dot')].map(dot => dot.className.split(' ')[1]);

  it.each([
    ['nobody', [], ['bg-gray-900', 'bg-gray-900']],
    ['the coach', [person('john')], ['bg-green-500', 'bg-gray-900']],
    ['the coachee', [person('jane')], ['bg-gray-900', 'bg-green-500']],
    ['both', [person('jane'), person('john')], ['bg-green-500', 'bg-green-500']],
  ])('with %s there', (_, participants, expected) => {
    const { container } = show(...participants);
    expect(dots(container)).toEqual(expected);
  });

  it('has the coach first, whoever came first, each dot directly before its name', () => {
    const { container } = show(person('jane'), person('john'));
    const title = screen.getByRole('heading', { level: 1 });
    expect(title.textContent).toBe('John Smith (connected) - Jane Doe (connected)');
    for (const dot of container.querySelectorAll('.presence-dot')) {
      expect(dot.nextSibling?.nodeType).toBe(Node.TEXT_NODE);
      expect(dot.previousSibling).toBeNull();
    }
  });

  it('says it in words too', () => {
    show(person('john'), person('jane', { isConnected: false }));
    const title = screen.getByRole('heading', {
      // Whether there is a space before the bracket, browsers and test libraries do not agree.
      name: /^John Smith ?\(connected\) - Jane Doe ?\(not connected\)$/,
    });
    expect(within(title).getByTitle('Jane Doe: not connected')).toBeTruthy();
  });

  it('goes by who somebody is, not by the role they claim', () => {
    const { container } = show(person('jane', { role: 'coach' }), person('eve', { role: 'coach' }));
    expect(dots(container)).toEqual(['bg-gray-900', 'bg-green-500']);
  });
});

describe('FacePile', () => {
  const crowd = (count: number) =>
    Array.from({ length: count }, (_, at) => person(`p${String.fromCharCode(97 + at)}`));
  const faces = (container: HTMLElement) =>
    [...container.querySelectorAll('.presence-face')].map(face => face.textContent);

  it('shows five faces and how many more', () => {
    const { container } = render(<FacePile participants={crowd(8)} />);
    expect(faces(container)).toEqual(['PA', 'PB', 'PC', 'PD', 'PE', '+3']);
    expect(screen.getByRole('button', { name: '8 people online' })).toBeTruthy();
  });

  it('shows exactly five without a "+0"', () => {
    const { container } = render(<FacePile participants={crowd(5)} />);
    expect(faces(container)).toHaveLength(5);
  });

  it('says one person, and nothing of nobody', () => {
    const { container, rerender } = render(<FacePile participants={crowd(1)} />);
    expect(screen.getByRole('button', { name: '1 person online' })).toBeTruthy();
    rerender(<FacePile participants={[]} />);
    expect(container.textContent).toBe('');
  });

  it('shows pictures of those who have one', () => {
    const { container } = render(<FacePile participants={[person('ann', { avatar: '/ann.png' })]} />);
    expect(container.querySelector('img')?.getAttribute('src')).toBe('/ann.png');
  });

  it('opens the whole list by pointer and by keyboard, and closes it with Escape', async () => {
    const user = userEvent.setup();
    const gone = person('old', { isConnected: false, lastSeen: new Date().toISOString() });
    render(<FacePile participants={[...crowd(7), gone]} />);
    expect(screen.queryByRole('tooltip')).toBeNull();
    await user.tab();
    const list = screen.getByRole('tooltip');
    expect(list.textContent).toContain('Pg');
    expect(list.textContent).toContain('Oldlast seen just now');
    expect(screen.getByRole('button').getAttribute('aria-describedby')).toBe(list.id);
    await user.keyboard('{Escape}');
    expect(screen.queryByRole('tooltip')).toBeNull();
    await user.hover(screen.getByRole('button'));
    expect(screen.getByRole('tooltip')).toBeTruthy();
    await user.unhover(screen.getByRole('button'));
    expect(screen.queryByRole('tooltip')).toBeNull();
  });
});

describe('TypingIndicator', () => {
  const show = (...participants: Participant[]) => {
    render(<TypingIndicator participants={participants} self="me" />);
    return screen.getByRole('status').textContent;
  };
  const typing = (userId: string) => person(userId, { status: 'typing' });

  it('leaves oneself out', () => {
    expect(show(typing('me'), person('ann'))).toBe('');
  });

  it('names one, two, and many', () => {
    expect(show(typing('ann'))).toBe('Ann is typing…');
    cleanup();
    expect(show(typing('ann'), typing('bob'), typing('me'))).toBe('Ann and Bob are typing…');
    cleanup();
    expect(show(...['ann', 'bob', 'cy', 'di'].map(typing))).toBe('Ann, Bob and 2 others are typing…');
  });

  it('leaves out who is gone', () => {
    expect(show(person('ann', { status: 'typing', isConnected: false }))).toBe('');
  });
});

describe('PresenceBar', () => {
  const joined: BoardPresence = {
    participants: snapshot(EMPTY, [person('ann', { status: 'idle' }), person('me')]),
    phase: 'joined',
    position: null,
    link: 'connected',
  };
  const says = (presence: BoardPresence) => {
    cleanup();
    render(<PresenceBar presence={presence} self="me" />);
    return screen.getByRole('status').textContent;
  };

  it('lists everybody with their status in words', () => {
    render(<PresenceBar presence={joined} self="me" />);
    const list = screen.getByRole('list', { name: 'On this board' });
    expect(within(list).getAllByRole('listitem').map(item => item.textContent)).toEqual([
      'ANAnnidle',
      'MEMe (you)online',
    ]);
  });

  it('tells our place in the queue of a full board', () => {
    const queued = { ...joined, participants: EMPTY, phase: 'queued' as const };
    expect(says({ ...queued, position: 1 })).toBe('The board is full. You are next in the queue.');
    expect(says({ ...queued, position: 4 })).toBe('The board is full. You are number 4 in the queue.');
    expect(screen.queryByRole('list')).toBeNull();
    expect(says({ ...queued, phase: 'full' })).toContain('full');
  });

  it('says when there is no connection, and when there never will be', () => {
    expect(says({ ...joined, link: 'reconnecting' })).toContain('Reconnecting');
    expect(says({ ...joined, phase: 'refused' })).toContain('no access');
    expect(says({ ...joined, phase: 'connecting' })).toBe('Connecting…');
  });
});
