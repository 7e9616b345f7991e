// A few faces, how many more there are, and the whole list when you ask for it.

import { type FocusEvent, type KeyboardEvent, memo, useId, useState } from 'react';

import { Face } from './Face';
import { lastSeenText, type Participant, peopleCount, statusText } from './model';

export interface FacePileProps {
  /** Those gone are listed with when they were last seen, and have no face. */
  readonly participants: readonly Participant[];
  /** Faces that are shown. */
  readonly max?: number;
  /** What they are, behind "3 people": "online". */
  readonly label?: string;
  /** Shows the count beside the faces, not only to screen readers. */
  readonly showCount?: boolean;
}

export const FacePile = memo(function FacePile({
  participants,
  max = 5,
  label = 'online',
  showCount = false,
}: FacePileProps) {
  const [isOpen, setOpen] = useState(false);
  const list = useId();
  const present = participants.filter(participant => participant.isConnected);
  const more = present.length - max;
  const count = `${peopleCount(present.length)} ${label}`;

  if (participants.length === 0) {
    return showCount ? <span className="presence-count">{count}</span> : null;
  }
  const onKeyDown = ({ key }: KeyboardEvent) => {
    if (key === 'Escape') setOpen(false);
  };
  const onBlur = ({ currentTarget, relatedTarget }: FocusEvent) => {
    if (!currentTarget.contains(relatedTarget)) setOpen(false);
  };
  return (
    <span
      className="presence-pile"
      onMouseEnter={() => setOpen(true)}
      onMouseLeave={() => setOpen(false)}
      onKeyDown={onKeyDown}
      onFocus={() => setOpen(true)}
      onBlur={onBlur}
    >
      <button
        type="button"
        className="presence-pile-button"
        aria-describedby={isOpen ? list : undefined}
        // Safari gives no focus to a button that is tapped.
        onClick={() => setOpen(true)}
      >
        {present.slice(0, max).map(({ userId, name, avatar, color }) => (
          <Face key={userId} name={name} avatar={avatar} color={color} />
        ))}
        {more > 0 && (
          <span className="presence-face presence-more" aria-hidden="true">
            +{more}
          </span>
        )}
        <span className={showCount || present.length === 0 ? 'presence-count' : 'presence-hidden'}>
          {count}
        </span>
      </button>
      {isOpen && <WholeList id={list} participants={participants} />}
    </span>
  );
});

const ROWS_WITHOUT_SCROLLING = 8;

interface WholeListProps {
  readonly id: string;
  readonly participants: readonly Participant[];
}

function WholeList({ id, participants }: WholeListProps) {
  // Drawn anew each time it opens: recent enough for "5 min ago".
  const [now] = useState(() => Date.now());
  return (
    <span
      className="presence-tooltip"
      id={id}
      role="tooltip"
      // A long list scrolls, by keyboard too.
      tabIndex={participants.length > ROWS_WITHOUT_SCROLLING ? 0 : undefined}
    >
      {participants.map(({ userId, name, status, isConnected, lastSeen }) => (
        <span className="presence-tooltip-row" key={userId}>
          <span>{name}</span>
          <span className="presence-quiet">
            {isConnected ? statusText(status) : `last seen ${lastSeenText(lastSeen, now)}`}
          </span>
        </span>
      ))}
    </span>
  );
}
