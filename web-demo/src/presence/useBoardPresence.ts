// Being on a board: its text dialect on the board's socket, whose binary frames are left to Yjs.

import { useEffect, useMemo } from 'react';

import { GRACE_MS, watchLink } from './link';
import { type Link, type Participant, type Relay, type Status, statusOf } from './model';
import { change, EMPTY, remove, type Roster, snapshot } from './roster';
import { routes } from './routes';
import { type Message, openSocket, type Socket } from './socket';
import { createStore, type Store, useStore } from './store';

/** Where we stand at the board's door. */
export type BoardPhase = 'connecting' | 'joined' | 'queued' | 'full' | 'refused';

export interface Cursor {
  readonly x: number;
  readonly y: number;
}

export interface Cursors {
  readonly [userId: string]: Cursor;
}

export interface Board {
  readonly roster: Store<Roster>;
  /** Apart from the roster: a moving pointer draws nobody's face again. */
  readonly cursors: Store<Cursors>;
  readonly phase: Store<BoardPhase>;
  /** From 1, while queued. */
  readonly position: Store<number | null>;
  readonly link: Store<Link>;
  readonly setStatus: (status: 'online' | 'idle' | 'away') => void;
  readonly setCursor: (cursor: Cursor) => void;
  /** For Yjs: frames of y-websocket. */
  readonly sendBinary: (bytes: Uint8Array) => void;
  /** Called for each binary frame; returns what ends that. */
  readonly onBinary: (handle: (bytes: Uint8Array) => void) => () => void;
  /** Called each time we are let in; returns what ends that. */
  readonly onJoined: (handle: () => void) => () => void;
  /** Connects; returns what leaves. */
  readonly open: () => () => void;
}

export interface BoardPresence {
  readonly participants: Roster;
  readonly phase: BoardPhase;
  readonly position: number | null;
  readonly link: Link;
}

const HEARTBEAT_MS = 30_000;
const JITTER = 0.1;

/** Puts us on a board, or into its queue, for as long as the component is mounted. */
export function useBoard(
  relay: Relay,
  boardId: string,
  userId: string,
  graceMs: number = GRACE_MS,
): Board {
  const board = useMemo(
    () => createBoard(relay, boardId, userId, graceMs),
    [relay, boardId, userId, graceMs],
  );
  useEffect(() => board.open(), [board]);
  return board;
}

/** Who is on a board, and where we stand. */
export function useBoardPresence(board: Board): BoardPresence {
  const participants = useStore(board.roster);
  const phase = useStore(board.phase);
  const position = useStore(board.position);
  const link = useStore(board.link);
  return useMemo(
    () => ({ participants, phase, position, link }),
    [participants, phase, position, link],
  );
}

/** The pointers of the others. */
export function useBoardCursors(board: Board): Cursors {
  return useStore(board.cursors);
}

/** The same without React, for people who need no picture. */
export function createBoard(
  relay: Relay,
  boardId: string,
  userId: string,
  graceMs: number = GRACE_MS,
): Board {
  const roster = createStore<Roster>(EMPTY);
  const cursors = createStore<Cursors>({});
  const phase = createStore<BoardPhase>('connecting');
  const position = createStore<number | null>(null);
  const link = createStore<Link>('connecting');
  const binary = new Set<(bytes: Uint8Array) => void>();
  const joined = new Set<() => void>();
  let socket: Socket | null = null;

  const say = (payload: Record<string, unknown>) =>
    socket?.send({ type: 'presence:update', payload });
  // The relay does not repeat to us what we did ourselves.
  const setOwn = (status: Status) => {
    const own = roster.get().find(participant => participant.userId === userId);
    if (own !== undefined) roster.set(change(roster.get(), { ...own, status }));
  };
  const dropCursor = (whose: string) => {
    if (!(whose in cursors.get())) return;
    const { [whose]: _gone, ...others } = cursors.get();
    cursors.set(others);
  };

  const receive = (message: Message) => {
    const payload = message.payload as Record<string, unknown>;
    const about = payload.user_id as string;
    switch (message.type) {
      case 'board:joined': {
        const users = payload.current_users as WireUser[];
        roster.set(snapshot(roster.get(), users.map(participantOf)));
        for (const known of Object.keys(cursors.get())) {
          if (!users.some(user => user.user_id === known)) dropCursor(known);
        }
        position.set(null);
        phase.set('joined');
        for (const handle of [...joined]) handle();
        break;
      }
      case 'user:joined':
        roster.set(change(roster.get(), participantOf(payload as unknown as WireUser)));
        break;
      case 'presence:update': {
        const known = roster.get().find(participant => participant.userId === about);
        if (known === undefined) break;
        const status = statusOf(payload.status ?? known.status);
        if (status !== known.status) roster.set(change(roster.get(), { ...known, status }));
        const cursor = payload.cursor as Cursor | null | undefined;
        if (cursor) cursors.set({ ...cursors.get(), [about]: cursor });
        break;
      }
      case 'user:left':
        roster.set(remove(roster.get(), about));
        dropCursor(about);
        break;
      case 'board:queued':
        roster.set(EMPTY);
        position.set(payload.position as number);
        phase.set('queued');
        break;
      case 'error':
        if (payload.code === 'BOARD_FULL') phase.set('full');
        break;
      default:
        break;
    }
  };

  return {
    roster,
    cursors,
    phase,
    position,
    link,
    setStatus(status) {
      say({ status });
      setOwn(status);
    },
    setCursor(cursor) {
      say({ cursor });
      setOwn('online');
    },
    sendBinary: bytes => socket?.sendBinary(bytes),
    onBinary(handle) {
      binary.add(handle);
      return () => binary.delete(handle);
    },
    onJoined(handle) {
      joined.add(handle);
      if (phase.get() === 'joined') handle();
      return () => joined.delete(handle);
    },
    open() {
      const state = watchLink(link, graceMs, () => {
        // What happens on the board from now on is not told to us.
        roster.set(EMPTY);
        cursors.set({});
        position.set(null);
        if (phase.get() !== 'full') phase.set('connecting');
      });
      const opened = openSocket({
        relay,
        path: routes.board(boardId),
        onMessage: message => {
          state.up();
          receive(message);
        },
        onBinary: bytes => {
          for (const handle of [...binary]) handle(bytes);
        },
        onDown: state.down,
        onRefused: () => {
          state.refused();
          phase.set('refused');
        },
      });
      socket = opened;
      let timer: ReturnType<typeof setTimeout>;
      const beat = () => {
        timer = setTimeout(beat, HEARTBEAT_MS * (1 - JITTER + 2 * JITTER * Math.random()));
        opened.send({ type: 'heartbeat', payload: {} });
      };
      timer = setTimeout(beat, HEARTBEAT_MS);
      return () => {
        clearTimeout(timer);
        state.dispose();
        opened.close();
        if (socket === opened) socket = null;
        phase.set('connecting');
        link.set('connecting');
      };
    },
  };
}

interface WireUser {
  readonly user_id: string;
  readonly display_name: string;
  readonly avatar_url: string | null;
  readonly status: Status;
  readonly color: string | null;
}

function participantOf(user: WireUser): Participant {
  return {
    userId: user.user_id,
    name: user.display_name,
    avatar: user.avatar_url ?? null,
    role: null,
    color: user.color ?? null,
    status: statusOf(user.status),
    isConnected: true,
    lastSeen: null,
    data: null,
  };
}
