import { expect, it } from 'vitest';

import { change, EMPTY, remove, snapshot } from './roster';
import { person } from './testing';

const ids = (roster: readonly { userId: string }[]) => roster.map(({ userId }) => userId);

it('has those connected first, then the latest gone', () => {
  const roster = snapshot(EMPTY, [
    person('zoe'),
    person('old', { isConnected: false, lastSeen: '2026-01-01T08:00:00.000Z' }),
    person('new', { isConnected: false, lastSeen: '2026-01-01T09:00:00.000Z' }),
    person('ann'),
  ]);
  expect(ids(roster)).toEqual(['ann', 'zoe', 'new', 'old']);
});

it('is the same roster when nothing changed that anybody sees', () => {
  const roster = snapshot(EMPTY, [person('ann', { data: { cursor: { x: 1 } } }), person('bob')]);
  const again = [
    person('bob', { lastSeen: '2026-01-01T11:11:11.111Z' }),
    person('ann', { data: { cursor: { x: 1 } } }),
  ];
  expect(snapshot(roster, again)).toBe(roster);
  expect(change(roster, person('bob', { lastSeen: '2026-02-02T00:00:00.000Z' }))).toBe(roster);
  expect(remove(roster, 'nobody')).toBe(roster);
});

it('keeps those who did not change when somebody else does', () => {
  const roster = snapshot(EMPTY, [person('ann'), person('bob')]);
  const next = change(roster, person('bob', { status: 'typing' }));
  expect(next).not.toBe(roster);
  expect(next[0]).toBe(roster[0]);
  expect(next[1]?.status).toBe('typing');
});

it('moves who left behind those who are there, with when they went', () => {
  const roster = snapshot(EMPTY, [person('ann'), person('bob')]);
  const left = person('ann', { isConnected: false, status: 'offline', lastSeen: '2026-01-01T12:00:00.000Z' });
  const next = change(roster, left);
  expect(ids(next)).toEqual(['bob', 'ann']);
  expect(next[1]?.lastSeen).toBe('2026-01-01T12:00:00.000Z');
  expect(ids(remove(next, 'ann'))).toEqual(['bob']);
});

it('forgets nobody in a snapshot it was given twice, and everybody in an empty one', () => {
  const roster = snapshot(EMPTY, [person('ann')]);
  expect(snapshot(roster, [])).toEqual([]);
});
