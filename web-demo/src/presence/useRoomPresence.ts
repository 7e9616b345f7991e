// Being in a room without a socket: heartbeats out, the roster in as server-sent events.

import { useEffect, useMemo } from 'react';

import { GRACE_MS, watchLink } from './link';
import type { Link, Participant, Relay } from './model';
import { change, EMPTY, isSameData, type Roster, snapshot } from './roster';
import { routes } from './routes';
import { createStore, type Store, useStore } from './store';
import { openStream } from './stream';

export interface RoomPresence {
  /** Those connected, then those gone with when they were last seen. */
  readonly participants: Roster;
  readonly link: Link;
  /** Call on every keystroke; it ends by itself, or with `false` when the message is sent. */
  readonly setTyping: (isTyping: boolean) => void;
}

export interface RoomOptions {
  /** Between two heartbeats; others see us gone after 2.5 times as long. */
  readonly intervalMs?: number;
  readonly graceMs?: number;
}

/** Between heartbeats, so that a room full of people does not speak all at once. */
const JITTER = 0.1;
/** The relay lets typing end after 5 s; it is repeated before. */
const TYPING_REPEAT_MS = 2_500;
/** The relay takes ten in ten seconds from a user; what changes quickly is told together. */
const GAP_MS = 1_100;
/** Timers of a hidden page may run only once a minute. */
const HIDDEN_INTERVAL_MS = 30_000;
/** Nothing typed for this long is no longer typing. */
const TYPING_PAUSE_MS = 3_000;

/** Puts us into a room for as long as the component is mounted. */
export function useRoomPresence(
  relay: Relay,
  room: string | null,
  { intervalMs = 15_000, graceMs = GRACE_MS }: RoomOptions = {},
): RoomPresence {
  const visit = useMemo(
    () => (room === null ? null : createVisit(relay, room, intervalMs, graceMs)),
    [relay, room, intervalMs, graceMs],
  );
  useEffect(() => visit?.open(), [visit]);
  const participants = useStore(visit?.roster ?? NOBODY);
  const link = useStore(visit?.link ?? CONNECTING);
  const setTyping = visit?.setTyping ?? doNothing;
  return useMemo(() => ({ participants, link, setTyping }), [participants, link, setTyping]);
}

const NOBODY = createStore<Roster>(EMPTY);
const CONNECTING = createStore<Link>('connecting');
const doNothing = () => undefined;

interface Visit {
  readonly roster: Store<Roster>;
  readonly link: Store<Link>;
  readonly setTyping: (isTyping: boolean) => void;
  open(): () => void;
}

function createVisit(relay: Relay, room: string, intervalMs: number, graceMs: number): Visit {
  const roster = createStore<Roster>(EMPTY);
  const link = createStore<Link>('connecting');
  const heart = createHeart(relay, room, intervalMs);
  return {
    roster,
    link,
    setTyping: heart.setTyping,
    open() {
      const state = watchLink(link, graceMs);
      const update = (data: unknown) => roster.set(change(roster.get(), data as Participant));
      const closeStream = openStream({
        relay,
        path: routes.roomStream(room),
        on: {
          snapshot: data =>
            roster.set(snapshot(roster.get(), (data as { participants: Roster }).participants)),
          joined: update,
          changed: update,
          left: update,
        },
        onUp: state.up,
        onDown: state.down,
      });
      const stop = heart.start();
      return () => {
        closeStream();
        stop();
        state.dispose();
      };
    },
  };
}

/** The heartbeats alone, for people who need to be seen and see nobody. */
export function createHeart(relay: Relay, room: string, intervalMs: number) {
  let isTyping = false;
  let saidTypingAt = Number.NEGATIVE_INFINITY;
  let pause: ReturnType<typeof setTimeout> | undefined;
  let beat: () => void = () => undefined;

  const setTyping = (next: boolean) => {
    clearTimeout(pause);
    const wasTyping = isTyping;
    isTyping = next;
    if (next) {
      pause = setTimeout(() => setTyping(false), TYPING_PAUSE_MS);
      if (Date.now() - saidTypingAt < TYPING_REPEAT_MS) return;
    } else if (!wasTyping) {
      return;
    }
    saidTypingAt = next ? Date.now() : Number.NEGATIVE_INFINITY;
    beat();
  };

  return {
    setTyping,
    /** Begins to beat; returns what says good-bye. */
    start(): () => void {
      // One visit, one session: two tabs of a user are two, and a page that comes back is another.
      let sessionId = newSessionId();
      let sessionToken: string | null = null;
      let timer: ReturnType<typeof setTimeout> | undefined;
      let isOver = false;
      /** The page is on its way out, and perhaps comes back: what it said behind its goodbye would be too late. */
      let isGone = false;
      let sentAt = Number.NEGATIVE_INFINITY;

      const send = async () => {
        const own = sessionId;
        const status = isTyping ? 'typing' : document.hidden ? 'idle' : 'active';
        const answer = await (relay.fetch ?? fetch)(`${relay.url}${routes.heartbeat}`, {
          method: 'POST',
          headers: {
            authorization: `Bearer ${await relay.token()}`,
            'content-type': 'application/json',
          },
          body: JSON.stringify({ room, sessionId: own, interval: interval(), data: { status } }),
        });
        if (!answer.ok) throw new Error(`heartbeat: ${answer.status}`);
        const { sessionToken: token, left } = (await answer.json()) as { sessionToken: string; left?: boolean };
        if (isOver || isGone || own !== sessionId) {
          // We were gone before the answer came, and nobody has told the relay.
          if (left !== true) sayGoodbye(token);
        } else if (left === true) {
          begin();
        } else {
          sessionToken = token;
        }
      };
      const begin = () => {
        sessionId = newSessionId();
        sessionToken = null;
        beat();
      };
      const interval = () => (document.hidden ? Math.max(intervalMs, HIDDEN_INTERVAL_MS) : intervalMs);
      const leave = () => {
        const token = sessionToken;
        sessionToken = null;
        if (token !== null) sayGoodbye(token);
      };
      const sayGoodbye = (token: string) => {
        const beacon = relay.sendBeacon ?? navigator.sendBeacon.bind(navigator);
        beacon(`${relay.url}${routes.leave}`, JSON.stringify({ sessionToken: token }));
      };
      beat = () => {
        if (isOver || isGone) return;
        clearTimeout(timer);
        const early = sentAt + GAP_MS - Date.now();
        if (early > 0) {
          timer = setTimeout(beat, early);
          return;
        }
        sentAt = Date.now();
        timer = setTimeout(beat, interval() * (1 - JITTER + 2 * JITTER * Math.random()));
        // A beat that fails is one of several that may: the next one makes good.
        send().catch(() => undefined);
      };

      const onPageHide = () => {
        isGone = true;
        clearTimeout(timer);
        leave();
      };
      const onPageShow = () => {
        // The first is that of the page's own beginning.
        if (!isGone) return;
        isGone = false;
        begin();
      };
      window.addEventListener('pagehide', onPageHide);
      window.addEventListener('pageshow', onPageShow);
      window.addEventListener('online', beat);
      document.addEventListener('visibilitychange', beat);
      const started = beat;
      beat();
      return () => {
        isOver = true;
        if (beat === started) beat = () => undefined;
        clearTimeout(timer);
        clearTimeout(pause);
        isTyping = false;
        window.removeEventListener('pagehide', onPageHide);
        window.removeEventListener('pageshow', onPageShow);
        window.removeEventListener('online', started);
        document.removeEventListener('visibilitychange', started);
        leave();
      };
    },
  };
}

function newSessionId(): string {
  // `randomUUID` exists in secure contexts only.
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('');
}

/** One room below a prefix, with those connected in it. */
export interface RoomUnder {
  readonly room: string;
  readonly activeUsers: Roster;
  readonly activeCount: number;
}

export interface PresenceUnder {
  readonly rooms: readonly RoomUnder[];
  /** Distinct users: somebody in two rooms is one. */
  readonly totalActiveUsers: number;
  readonly link: Link;
}

/** All rooms below a prefix, live: a dashboard. Reading puts nobody anywhere. */
export function usePresenceUnder(
  relay: Relay,
  prefix: string,
  graceMs: number = GRACE_MS,
): PresenceUnder {
  const overview = useMemo(() => createOverview(relay, prefix, graceMs), [relay, prefix, graceMs]);
  useEffect(() => overview.open(), [overview]);
  const rooms = useStore(overview.rooms);
  const link = useStore(overview.link);
  return useMemo(() => {
    const users = new Set(rooms.flatMap(room => room.activeUsers.map(user => user.userId)));
    return { rooms, totalActiveUsers: users.size, link };
  }, [rooms, link]);
}

function createOverview(relay: Relay, prefix: string, graceMs: number) {
  const rooms = createStore<readonly RoomUnder[]>([]);
  const link = createStore<Link>('connecting');

  const put = (list: readonly RoomUnder[], room: RoomUnder): readonly RoomUnder[] => {
    const before = list.find(other => other.room === room.room);
    const activeUsers = snapshot(before?.activeUsers ?? EMPTY, room.activeUsers);
    if (before !== undefined && before.activeUsers === activeUsers) return list;
    const others = list.filter(other => other.room !== room.room);
    if (activeUsers.length === 0) return before === undefined ? list : others;
    return [...others, { room: room.room, activeUsers, activeCount: activeUsers.length }].sort(
      (one, other) => one.room.localeCompare(other.room),
    );
  };

  return {
    rooms,
    link,
    open() {
      const state = watchLink(link, graceMs);
      const closeStream = openStream({
        relay,
        path: routes.underStream(prefix),
        on: {
          snapshot: data => {
            const now = (data as { rooms: readonly RoomUnder[] }).rooms;
            const names = new Set(now.map(room => room.room));
            const still = rooms.get().filter(room => names.has(room.room));
            const kept = still.length === rooms.get().length ? rooms.get() : still;
            const next = now.reduce(put, kept);
            rooms.set(isSameData(next, rooms.get()) ? rooms.get() : next);
          },
          changed: data => rooms.set(put(rooms.get(), data as RoomUnder)),
        },
        onUp: state.up,
        onDown: state.down,
      });
      return () => {
        closeStream();
        state.dispose();
      };
    },
  };
}
