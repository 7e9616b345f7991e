// Everybody on a board with their status; or, at the door of a full one, our place in the queue.

import { memo } from 'react';

import { Face } from './Face';
import { type Link, type Participant, peopleCount, statusText } from './model';
import type { BoardPresence } from './useBoardPresence';

export interface PresenceBarProps {
  readonly presence: BoardPresence;
  /** Our own user id. */
  readonly self: string;
}

export const PresenceBar = memo(function PresenceBar({ presence, self }: PresenceBarProps) {
  const { participants, phase, position, link } = presence;
  return (
    <div className="presence-bar" data-phase={phase}>
      <p className="presence-bar-says" role="status">
        {says(phase, position, link, participants.length)}
      </p>
      {phase === 'joined' && (
        <ul className="presence-bar-people" aria-label="On this board">
          {participants.map(participant => (
            <Person
              key={participant.userId}
              participant={participant}
              isSelf={participant.userId === self}
            />
          ))}
        </ul>
      )}
    </div>
  );
});

function says(
  phase: BoardPresence['phase'],
  position: number | null,
  link: Link,
  count: number,
): string {
  if (phase === 'refused' || link === 'refused') return 'You have no access to this board.';
  if (link === 'reconnecting') return 'Connection lost. Reconnecting…';
  switch (phase) {
    case 'connecting':
      return 'Connecting…';
    case 'queued':
      return position === 1
        ? 'The board is full. You are next in the queue.'
        : `The board is full. You are number ${position ?? '?'} in the queue.`;
    case 'full':
      return 'The board is full. Trying again…';
    case 'joined':
      return `${peopleCount(count)} on this board`;
  }
}

interface PersonProps {
  readonly participant: Participant;
  readonly isSelf: boolean;
}

const Person = memo(function Person({ participant, isSelf }: PersonProps) {
  const { name, avatar, color, status } = participant;
  return (
    <li className="presence-bar-person" data-status={status}>
      <Face name={name} avatar={avatar} color={color} />
      <span className="presence-bar-name">
        {name}
        {isSelf && ' (you)'}
        <span className="presence-bar-status">
          <span className="presence-status-mark" data-status={status} aria-hidden="true" />
          {statusText(status)}
        </span>
      </span>
    </li>
  );
});
