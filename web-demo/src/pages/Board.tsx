// A board: who is on it and what they do, the queue at its door, and notes.

import { useCallback } from 'react';

import { Canvas } from '../board/Canvas';
import { Crowd } from '../Crowd';
import { createBoard, PresenceBar, useBoard, useBoardPresence } from '../presence';
import type { OwnRelay } from '../relay';
import type { Seat } from '../Stage';

const STATUSES = ['online', 'idle', 'away'] as const;

export default function Board({ relay, person, room }: Seat) {
  const board = useBoard(relay, room, person.id);
  const presence = useBoardPresence(board);
  const own = presence.participants.find(({ userId }) => userId === person.id)?.status;
  const enter = useCallback(
    (extra: OwnRelay) => createBoard(extra, room, extra.person.id).open(),
    [room],
  );
  return (
    <>
      <h1 className="room-title">Board “{room}”</h1>
      <PresenceBar presence={presence} self={person.id} />
      {presence.phase === 'joined' ? (
        <Canvas key={room} board={board} person={person}>
          <label className="field">
            Your status
            <select
              value={STATUSES.find(status => status === own) ?? 'online'}
              onChange={event => board.setStatus(event.target.value as (typeof STATUSES)[number])}
            >
              {STATUSES.map(status => (
                <option key={status}>{status}</option>
              ))}
            </select>
          </label>
        </Canvas>
      ) : (
        <div className="canvas canvas-closed">
          <p className="waiting">
            {presence.phase === 'queued'
              ? 'You are let in as soon as somebody leaves.'
              : 'The board appears here when you are on it.'}
          </p>
        </div>
      )}
      <Crowd enter={enter} label="Send in one more person" />
    </>
  );
}
