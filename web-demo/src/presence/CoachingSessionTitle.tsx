// The title of a coaching session: `● coach - ● coachee`, green for who is there, black for who is not.

import { memo } from 'react';

import type { CoachingRelationship, Named } from './model';
import { presenceOf, type SessionPresence } from './useSessionPresence';

export interface CoachingSessionTitleProps {
  readonly relationship: CoachingRelationship;
  readonly presence: SessionPresence;
}

export const CoachingSessionTitle = memo(function CoachingSessionTitle({
  relationship: { coach, coachee },
  presence,
}: CoachingSessionTitleProps) {
  const isThere = (person: Named) => presenceOf(presence, person.userId)?.isConnected ?? false;
  return (
    <h1 className="presence-title">
      <Person name={coach.name} isConnected={isThere(coach)} />
      {' - '}
      <Person name={coachee.name} isConnected={isThere(coachee)} />
    </h1>
  );
});

interface PersonProps {
  readonly name: string;
  readonly isConnected: boolean;
}

const Person = memo(function Person({ name, isConnected }: PersonProps) {
  const state = isConnected ? 'connected' : 'not connected';
  return (
    <span className="presence-person" data-connected={isConnected} title={`${name}: ${state}`}>
      <span
        className={`presence-dot ${isConnected ? 'bg-green-500' : 'bg-gray-900'}`}
        aria-hidden="true"
      />
      {name}
      <span className="presence-hidden">{` (${state})`}</span>
    </span>
  );
});
