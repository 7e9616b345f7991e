// A coaching session: the title with its dots, the editor, and whether it is saved.

import { useState } from 'react';

import { Editor } from '../editor/Editor';
import { SaveBadge } from '../editor/SaveBadge';
import { useSharedDocument } from '../editor/useSharedDocument';
import { CAST } from '../people';
import {
  type CoachingRelationship,
  CoachingSessionTitle,
  lastSeenText,
  roleIn,
  type SessionPresence,
  useSessionPresence,
} from '../presence';
import { useNow } from '../useNow';
import type { Seat } from '../Stage';

/** Of the application's own records; the relay knows nothing of it. */
const RELATIONSHIP: CoachingRelationship = {
  coach: { userId: CAST[0].id, name: CAST[0].name },
  coachee: { userId: CAST[1].id, name: CAST[1].name },
};

export default function Session({ relay, person, room }: Seat) {
  const shared = useSharedDocument(relay, `session/${room}`);
  const role = roleIn(RELATIONSHIP, person.id) ?? 'guest';
  const [isPretending, setPretending] = useState(false);
  const presence = useSessionPresence(shared?.provider ?? null, {
    userId: isPretending ? RELATIONSHIP.coach.userId : person.id,
    name: isPretending ? RELATIONSHIP.coach.name : person.name,
    role: isPretending ? 'coach' : role,
    color: person.color,
  });

  return (
    <>
      <div className="session-head">
        <CoachingSessionTitle relationship={RELATIONSHIP} presence={presence} />
        <SaveBadge provider={shared?.provider ?? null} />
      </div>
      {shared ? (
        <Editor shared={shared} person={person} />
      ) : (
        <p className="waiting">Opening the notes…</p>
      )}
      <WhoIsHere presence={presence} />
      {role !== 'coach' && (
        <label className="check">
          <input
            type="checkbox"
            checked={isPretending}
            onChange={event => setPretending(event.target.checked)}
          />
          Claim to be the coach. The others see who you really are.
        </label>
      )}
    </>
  );
}

function WhoIsHere({ presence }: { readonly presence: SessionPresence }) {
  const now = useNow();
  const rows = presence.participants;
  if (rows.length === 0) {
    return (
      <p className="waiting">
        {presence.link === 'connected' ? 'Nobody is here yet.' : 'Who is here is known once connected.'}
      </p>
    );
  }
  return (
    <ul className="people" aria-label="In this session">
      {rows.map(({ userId, name, role, isConnected, lastSeen }) => (
        <li key={userId} data-user={userId} data-connected={isConnected}>
          <span className="people-name">{name}</span>
          <span className="people-role">{role ?? 'no role'}</span>
          <span className="presence-quiet">
            {isConnected ? 'here' : `left ${lastSeenText(lastSeen, now)}`}
          </span>
        </li>
      ))}
    </ul>
  );
}
