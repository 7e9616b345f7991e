// Who is in a room, as two pure functions: take a snapshot, apply a change.
//
// Both return the roster they were given when nothing that people see has changed, so a component
// that gets the same roster need not draw again.

import type { Participant } from './model';

/** Those connected by name, then those gone, the latest first. */
export type Roster = readonly Participant[];

export const EMPTY: Roster = [];

/** The roster after the relay has said who is there. */
export function snapshot(roster: Roster, participants: readonly Participant[]): Roster {
  const known = new Map(roster.map(participant => [participant.userId, participant]));
  const next = participants
    .map(participant => {
      const before = known.get(participant.userId);
      return before !== undefined && isSame(before, participant) ? before : participant;
    })
    .sort(byPlace);
  const isUnchanged =
    next.length === roster.length && next.every((participant, at) => participant === roster[at]);
  return isUnchanged ? roster : next;
}

/** The roster after one participant joined, changed or left. */
export function change(roster: Roster, participant: Participant): Roster {
  const others = roster.filter(other => other.userId !== participant.userId);
  return snapshot(roster, [...others, participant]);
}

/** The roster without somebody, in rooms that remember nobody. */
export function remove(roster: Roster, userId: string): Roster {
  const others = roster.filter(participant => participant.userId !== userId);
  return others.length === roster.length ? roster : others;
}

function byPlace(one: Participant, other: Participant): number {
  if (one.isConnected !== other.isConnected) return one.isConnected ? -1 : 1;
  if (!one.isConnected && one.lastSeen !== other.lastSeen) {
    return (one.lastSeen ?? '') < (other.lastSeen ?? '') ? 1 : -1;
  }
  return one.name.localeCompare(other.name) || one.userId.localeCompare(other.userId);
}

/** Whether two states of a participant look the same. */
function isSame(one: Participant, other: Participant): boolean {
  return (
    one.userId === other.userId &&
    one.name === other.name &&
    one.avatar === other.avatar &&
    one.role === other.role &&
    one.color === other.color &&
    one.status === other.status &&
    one.isConnected === other.isConnected &&
    // Nobody is shown when a connected person last moved.
    (one.isConnected || one.lastSeen === other.lastSeen) &&
    isSameData(one.data, other.data)
  );
}

export function isSameData(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) {
    return false;
  }
  const [keys, otherKeys] = [Object.keys(one), Object.keys(other)];
  return (
    keys.length === otherKeys.length &&
    keys.every(key =>
      isSameData((one as Record<string, unknown>)[key], (other as Record<string, unknown>)[key]),
    )
  );
}
