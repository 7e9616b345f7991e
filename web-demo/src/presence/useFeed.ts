// What those you follow are doing: one full list, then only what changed.

import { useEffect, useMemo } from 'react';

import { GRACE_MS, watchLink } from './link';
import type { Link, Relay } from './model';
import { routes } from './routes';
import { type Message, openSocket, type Socket } from './socket';
import { createStore, type Store, useStore } from './store';

export type FeedStatus = 'Online' | 'Away' | 'Invisible';

/** Somebody you follow. */
export interface FeedUser {
  readonly username: string;
  readonly status: 'Online' | 'Away' | 'Offline';
  readonly activity: string;
  readonly project: string;
  readonly language: string;
  /** Milliseconds since 1970; of somebody offline, if they were ever seen. */
  readonly lastSeen: number | null;
}

/** What you say about yourself; what is left out stays as it was. */
export interface FeedUpdate {
  readonly status?: FeedStatus;
  readonly activity?: string;
  readonly project?: string;
  readonly language?: string;
}

export interface Feed {
  /** Online, then away, then offline with the latest first. */
  readonly users: readonly FeedUser[];
  readonly link: Link;
  readonly update: (update: FeedUpdate) => void;
}

/**
 * Logs into the feed for as long as the component is mounted. What `update` was given before the login is said by
 * it: whoever begins with `Invisible` is shown to nobody.
 */
export function useFeed(relay: Relay, graceMs: number = GRACE_MS): Feed {
  const feed = useMemo(() => createFeed(relay, graceMs), [relay, graceMs]);
  useEffect(() => feed.open(), [feed]);
  const users = useStore(feed.users);
  const link = useStore(feed.link);
  return useMemo(() => ({ users, link, update: feed.update }), [users, link, feed]);
}

interface FeedConnection {
  readonly users: Store<readonly FeedUser[]>;
  readonly link: Store<Link>;
  readonly update: (update: FeedUpdate) => void;
  open(): () => void;
}

/** The same without React. */
export function createFeed(relay: Relay, graceMs: number = GRACE_MS): FeedConnection {
  const users = createStore<readonly FeedUser[]>([]);
  const link = createStore<Link>('connecting');
  let socket: Socket | null = null;
  /** Good for one return within a minute, during which followers see us stay. */
  let resume: string | null = null;
  let own: FeedUpdate = {};
  /** What was said while there was no connection. */
  let unsaid: FeedUpdate = {};

  const login = () => {
    // A window that goes on knows all the rest; one that cannot is not to be seen before it is told.
    const hides: FeedUpdate = own.status === 'Invisible' ? { status: 'Invisible' } : {};
    const first = resume === null ? own : { ...hides, ...unsaid };
    socket?.send({ t: 'login', ...(resume === null ? {} : { resume }), ...shortNames(first) });
    unsaid = {};
  };

  const say = (update: FeedUpdate) => socket?.send({ t: 'statusUpdate', ...shortNames(update) }) === true;

  const receive = (message: Message) => {
    switch (message.t) {
      case 'hello': {
        const wasLost = resume !== null && message.resumed !== true;
        resume = message.resume as string;
        if (wasLost && Object.keys(own).length > 0) say(own);
        break;
      }
      case 'sync':
        users.set((message.users as Message[]).map(userOf).sort(byPlace));
        break;
      case 'u':
      case 'o':
      case 'x':
        users.set(apply(users.get(), message));
        break;
      default:
        break;
    }
  };

  return {
    users,
    link,
    update(update) {
      own = { ...own, ...update };
      if (!say(update)) unsaid = { ...unsaid, ...update };
    },
    open() {
      const state = watchLink(link, graceMs);
      const opened = openSocket({
        relay,
        path: routes.feed,
        typeKey: 't',
        onOpen: login,
        onMessage: message => {
          state.up();
          receive(message);
        },
        onDown: state.down,
        onRefused: state.refused,
      });
      socket = opened;
      return () => {
        // At once, instead of after the minute that is for lost connections.
        opened.send({ t: 'logout' });
        opened.close();
        state.dispose();
        if (socket === opened) socket = null;
        resume = null;
        link.set('connecting');
      };
    },
  };
}

function shortNames({ status, activity, project, language }: FeedUpdate): Message {
  return {
    ...(status === undefined ? {} : { s: status }),
    ...(activity === undefined ? {} : { a: activity }),
    ...(project === undefined ? {} : { p: project }),
    ...(language === undefined ? {} : { l: language }),
  };
}

/** The list after a change of one user: `u` some fields, `o` all of them, `x` gone. */
export function apply(users: readonly FeedUser[], message: Message): readonly FeedUser[] {
  const username = message.id as string;
  const known = users.find(user => user.username === username);
  const base: FeedUser = known ?? {
    username,
    status: 'Online',
    activity: 'Idle',
    project: '',
    language: '',
    lastSeen: null,
  };
  const next =
    message.t === 'x'
      ? { ...base, status: 'Offline' as const, lastSeen: (message.ts as number | null) ?? null }
      : { ...base, ...fieldsOf(message) };
  return [...users.filter(user => user !== known), next].sort(byPlace);
}

function fieldsOf({ s, a, p, l }: Message): Partial<FeedUser> {
  return {
    ...(s === undefined ? {} : { status: s as FeedUser['status'] }),
    ...(a === undefined ? {} : { activity: a as string }),
    ...(p === undefined ? {} : { project: p as string }),
    ...(l === undefined ? {} : { language: l as string }),
  };
}

function userOf(message: Message): FeedUser {
  return {
    username: message.username as string,
    status: 'Online',
    activity: 'Idle',
    project: '',
    language: '',
    lastSeen: (message.ts as number | null | undefined) ?? null,
    ...fieldsOf(message),
  };
}

const PLACE = { Online: 0, Away: 1, Offline: 2 } as const;

function byPlace(one: FeedUser, other: FeedUser): number {
  return (
    PLACE[one.status] - PLACE[other.status] ||
    (one.status === 'Offline' ? (other.lastSeen ?? 0) - (one.lastSeen ?? 0) : 0) ||
    one.username.localeCompare(other.username)
  );
}
