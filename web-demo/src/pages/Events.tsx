// An event's rooms: presence by heartbeats, typing, last seen, and an overview of all rooms.

import { type FormEvent, useCallback, useEffect, useRef, useState } from 'react';
import type * as Y from 'yjs';

import { Crowd } from '../Crowd';
import { useSharedDocument } from '../editor/useSharedDocument';
import { nameOf } from '../people';
import {
  createHeart,
  FacePile,
  lastSeenText,
  peopleCount,
  type Participant,
  TypingIndicator,
  usePresenceUnder,
  useRoomPresence,
} from '../presence';
import type { OwnRelay } from '../relay';
import type { Seat } from '../Stage';
import { useNow } from '../useNow';

const ROOMS = [
  { id: 'main', name: 'Main stage' },
  { id: 'catering', name: 'Catering' },
  { id: 'vendors', name: 'Vendors' },
  { id: 'afterparty', name: 'After-party' },
] as const;

/** Short, so that a lost network is noticed while you watch. */
const INTERVAL_MS = 4_000;

export default function Events({ relay, person, room: event }: Seat) {
  const [room, setRoom] = useState<string | null>(ROOMS[0].id);
  const path = room && `event/${event}/${room}`;
  const { participants, setTyping, link } = useRoomPresence(relay, path, {
    intervalMs: INTERVAL_MS,
  });
  const overview = usePresenceUnder(relay, `event/${event}`);
  const inRoom = (id: string) =>
    overview.rooms.find(({ room }) => room === `event/${event}/${id}`)?.activeUsers ?? NOBODY;
  const enter = useCallback(
    (extra: OwnRelay, number: number) =>
      createHeart(
        extra,
        `event/${event}/${ROOMS[number === 5 ? 1 : number === 6 ? 2 : 0].id}`,
        INTERVAL_MS,
      ).start(),
    [event],
  );

  return (
    <>
      <h1 className="room-title">
        Gala “{event}”
        <span className="room-count" role="status">
          {peopleCount(overview.totalActiveUsers)} in its rooms
        </span>
      </h1>
      <ul className="rooms" aria-label="Rooms">
        {ROOMS.map(({ id, name }) => (
          <li key={id} data-room={id} className="room" data-current={id === room}>
            <button
              type="button"
              className="room-enter"
              aria-pressed={id === room}
              onClick={() => setRoom(id === room ? null : id)}
            >
              {name}
            </button>
            <FacePile participants={inRoom(id)} />
            <span className="room-none">{inRoom(id).length === 0 && 'empty'}</span>
          </li>
        ))}
      </ul>
      {room === null ? (
        <p className="waiting">You are in no room. Others read when you were last seen.</p>
      ) : (
        <section className="chat" aria-label={ROOMS.find(({ id }) => id === room)?.name}>
          {link === 'reconnecting' && (
            <p className="waiting" role="status">
              Connection lost. Reconnecting…
            </p>
          )}
          <FacePile participants={participants} showCount />
          <Chat
            key={`${event}/${room}`}
            relay={relay}
            name={`chat.${event}.${room}`}
            author={person.id}
            setTyping={setTyping}
          />
          <TypingIndicator participants={participants} self={person.id} />
          <LastSeen participants={participants} />
        </section>
      )}
      <Crowd enter={enter} label="Send in one more person" />
    </>
  );
}

const NOBODY: readonly Participant[] = [];

function LastSeen({ participants }: { readonly participants: readonly Participant[] }) {
  const now = useNow();
  const gone = participants.filter(participant => !participant.isConnected);
  if (gone.length === 0) return null;
  return (
    <ul className="last-seen" aria-label="Were here">
      {gone.map(({ userId, name, lastSeen }) => (
        <li key={userId} data-user={userId}>
          {name} <span className="presence-quiet">last seen {lastSeenText(lastSeen, now)}</span>
        </li>
      ))}
    </ul>
  );
}

interface ChatProps {
  readonly relay: OwnRelay;
  readonly name: string;
  readonly author: string;
  readonly setTyping: (isTyping: boolean) => void;
}

interface ChatMessage {
  readonly author: string;
  readonly text: string;
}

/** Messages in a shared list, apart from presence: whoever only reads is still seen. */
function Chat({ relay, name, author, setTyping }: ChatProps) {
  const shared = useSharedDocument(relay, name);
  const [messages, setMessages] = useState<readonly ChatMessage[]>([]);
  const [text, setText] = useState('');
  const list = useRef<Y.Array<ChatMessage> | null>(null);
  const end = useRef<HTMLUListElement>(null);

  useEffect(() => {
    if (shared === null) return;
    const array = shared.doc.getArray<ChatMessage>('messages');
    const read = () => setMessages(array.toArray().slice(-50));
    list.current = array;
    array.observe(read);
    return () => {
      array.unobserve(read);
      list.current = null;
    };
  }, [shared]);
  useEffect(() => {
    if (end.current !== null) end.current.scrollTop = end.current.scrollHeight;
  }, [messages]);

  const send = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim() === '') return;
    list.current?.push([{ author, text: text.trim() }]);
    setText('');
    setTyping(false);
  };
  return (
    <>
      <ul className="messages" aria-label="Messages" ref={end} tabIndex={0}>
        {messages.length === 0 && <li className="waiting">No messages yet.</li>}
        {messages.map((message, at) => (
          <li key={at} data-own={message.author === author}>
            <span className="message-author">{nameOf(message.author)}</span>
            {message.text}
          </li>
        ))}
      </ul>
      <form className="compose" onSubmit={send}>
        <input
          aria-label="Message"
          placeholder="Write a message"
          value={text}
          autoComplete="off"
          onChange={event => {
            setText(event.target.value);
            setTyping(event.target.value !== '');
          }}
        />
        <button type="submit" className="button">
          Send
        </button>
      </form>
    </>
  );
}
