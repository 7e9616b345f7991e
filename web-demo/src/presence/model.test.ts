// @vitest-environment node

import { describe, expect, it } from 'vitest';

import { initials, inkOn, lastSeenText, namesOf, peopleCount, roleIn, statusOf } from './model';

const relationship = {
  coach: { userId: 'john', name: 'John Smith' },
  coachee: { userId: 'jane', name: 'Jane Doe' },
};

describe('the role in a coaching relationship', () => {
  it('is coach, coachee, or none', () => {
    expect(roleIn(relationship, 'john')).toBe('coach');
    expect(roleIn(relationship, 'jane')).toBe('coachee');
    expect(roleIn(relationship, 'mallory')).toBeNull();
  });

  it('is told by the id, never by the name', () => {
    expect(roleIn(relationship, 'John Smith')).toBeNull();
  });

  it('is coach for somebody who coaches themselves', () => {
    const self = { coach: relationship.coach, coachee: relationship.coach };
    expect(roleIn(self, 'john')).toBe('coach');
  });
});

describe('words for people', () => {
  it.each([
    ['Jim Hanson', 'JH'],
    ['ada', 'AD'],
    ['Ada M. Lovelace', 'AL'],
    ['  ', '?'],
    ['🦊 Fox', '🦊F'],
  ])('%s is %s', (name, expected) => expect(initials(name)).toBe(expected));

  it('counts one person and two people', () => {
    expect([0, 1, 2].map(peopleCount)).toEqual(['0 people', '1 person', '2 people']);
  });

  it('lists names as people say them', () => {
    expect(namesOf([])).toBe('');
    expect(namesOf(['Ann'])).toBe('Ann');
    expect(namesOf(['Ann', 'Bob'])).toBe('Ann and Bob');
    expect(namesOf(['Ann', 'Bob', 'Cy'])).toBe('Ann, Bob and Cy');
    expect(namesOf(['Ann', 'Bob', 'Cy', 'Di'])).toBe('Ann, Bob and 2 others');
  });

  it('says how long ago', () => {
    const now = Date.parse('2026-01-10T12:00:00Z');
    expect(lastSeenText('2026-01-10T11:59:30.000Z', now)).toBe('just now');
    expect(lastSeenText('2026-01-10T11:55:00.000Z', now)).toBe('5 min ago');
    expect(lastSeenText('2026-01-10T09:00:00.000Z', now)).toBe('3 h ago');
    expect(lastSeenText('2026-01-09T11:00:00.000Z', now)).toBe('yesterday');
    expect(lastSeenText('2026-01-01T12:00:00.000Z', now)).toBe('9 days ago');
    // A clock of ours that is behind makes nobody come from the future.
    expect(lastSeenText('2026-01-10T12:05:00.000Z', now)).toBe('just now');
    expect(lastSeenText(null, now)).toBe('never');
  });
});

it('reads a status of whatever comes', () => {
  expect(['active', 'idle', 'dancing', 7, null].map(statusOf)).toEqual([
    'online',
    'idle',
    'online',
    'online',
    'online',
  ]);
});

it('writes dark on light colours and light on dark ones', () => {
  expect(inkOn('#facc15')).toBe('dark');
  expect(inkOn('#1e3a8a')).toBe('light');
  expect(inkOn(null)).toBe('light');
  expect(inkOn('url(x)')).toBe('light');
});
