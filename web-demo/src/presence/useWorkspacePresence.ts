// Who is where in a workspace, over one long-lived socket; and following somebody.

import { PartySocket } from 'partysocket';
import { useEffect, useMemo, useRef } from 'react';

import { GRACE_MS, watchLink } from './link';
import type { Link, Relay } from './model';
import { isSameData } from './roster';
import type { Message } from './socket';
import { createStore, type Store, useStore } from './store';

/** Where somebody is. */
export interface Place {
  readonly currentPath: string;
  readonly resourceType?: string;
  readonly resourceId?: string;
}

/** Somebody else in the workspace. */
export interface WorkspaceUser extends Place {
  readonly userId: string;
  readonly userName: string;
  readonly userImage: string | null;
}

export type PresenceMap = ReadonlyMap<string, WorkspaceUser>;

export interface WorkspacePresence {
  /** Everybody but us. */
  readonly presenceMap: PresenceMap;
  readonly link: Link;
}

const EMPTY: PresenceMap = new Map();

/** Tells the workspace where we are, for as long as the component is mounted. */
export function useWorkspacePresence(
  relay: Relay,
  workspaceId: string,
  place: Place,
  graceMs: number = GRACE_MS,
): WorkspacePresence {
  const workspace = useMemo(
    () => createWorkspace(relay, workspaceId, graceMs),
    [relay, workspaceId, graceMs],
  );
  const { currentPath, resourceType, resourceId } = place;
  useEffect(
    () =>
      workspace.moveTo({
        currentPath,
        ...(resourceType === undefined ? {} : { resourceType }),
        ...(resourceId === undefined ? {} : { resourceId }),
      }),
    [workspace, currentPath, resourceType, resourceId],
  );
  useEffect(() => workspace.open(), [workspace]);
  const presenceMap = useStore(workspace.people);
  const link = useStore(workspace.link);
  return useMemo(() => ({ presenceMap, link }), [presenceMap, link]);
}

/** Follow mode: calls `onMove` with the place of whom we follow, now and whenever they move. */
export function useFollow(
  presenceMap: PresenceMap,
  followed: string | null,
  onMove: (currentPath: string) => void,
): WorkspaceUser | null {
  const leader = (followed !== null && presenceMap.get(followed)) || null;
  const path = leader?.currentPath ?? '';
  const latest = useRef(onMove);
  useEffect(() => {
    latest.current = onMove;
  });
  useEffect(() => {
    // Nobody is anywhere before their first update.
    if (path !== '') latest.current(path);
  }, [path, followed]);
  return leader;
}

interface Workspace {
  readonly people: Store<PresenceMap>;
  readonly link: Store<Link>;
  moveTo(place: Place): void;
  open(): () => void;
}

/** The same without React. */
export function createWorkspace(
  relay: Relay,
  workspaceId: string,
  graceMs: number = GRACE_MS,
): Workspace {
  const people = createStore<PresenceMap>(EMPTY);
  const link = createStore<Link>('connecting');
  let socket: PartySocket | null = null;
  let place: Place | null = null;

  const say = () => {
    if (place !== null && socket?.readyState === 1) {
      socket.send(JSON.stringify({ type: 'presence_update', ...place }));
    }
  };

  const put = (user: WorkspaceUser) => {
    if (isSameData(people.get().get(user.userId), user)) return;
    people.set(new Map(people.get()).set(user.userId, user));
  };

  const receive = (message: Message) => {
    switch (message.type) {
      case 'presence_snapshot': {
        const users = (message.users as WorkspaceUser[]).map(
          user => [user.userId, { ...user, userImage: user.userImage ?? null }] as const,
        );
        const isSame =
          users.length === people.get().size &&
          users.every(([id, user]) => isSameData(people.get().get(id), user));
        if (!isSame) people.set(new Map(users));
        break;
      }
      case 'user_joined': {
        const { userId, userName, userImage } = message as unknown as WorkspaceUser;
        put({ userId, userName, userImage: userImage ?? null, currentPath: '' });
        break;
      }
      case 'presence_changed': {
        const { type: _, ...moved } = message as unknown as WorkspaceUser & { type: string };
        const known = people.get().get(moved.userId);
        put({ ...moved, userImage: known?.userImage ?? null });
        break;
      }
      case 'user_left': {
        const next = new Map(people.get());
        if (next.delete(message.userId as string)) people.set(next);
        break;
      }
      case 'error':
        if (message.code === 'TOKEN_REFRESH_REQUIRED') {
          relay.token().then(
            token => socket?.send(JSON.stringify({ type: 'auth', token })),
            () => undefined,
          );
        }
        break;
      default:
        break;
    }
  };

  return {
    people,
    link,
    moveTo(next) {
      place = next;
      say();
    },
    open() {
      const state = watchLink(link, graceMs, () => people.set(EMPTY));
      const { host, protocol } = new URL(relay.url);
      const opened = new PartySocket({
        host,
        protocol: protocol === 'https:' ? 'wss' : 'ws',
        party: 'presence',
        room: `presence-${workspaceId}`,
        // Asked again for every attempt.
        query: async () => ({ token: await relay.token() }),
        minReconnectionDelay: 300,
        maxReconnectionDelay: 10_000,
        ...(relay.WebSocket === undefined ? {} : { WebSocket: relay.WebSocket }),
      });
      socket = opened;
      opened.addEventListener('open', say);
      opened.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
        state.up();
        if (typeof data === 'string') receive(JSON.parse(data) as Message);
      });
      opened.addEventListener('close', ({ code }: { code: number }) => {
        if (code === 4400 || code === 4403) {
          opened.close();
          state.refused();
        } else {
          state.down();
        }
      });
      return () => {
        state.dispose();
        opened.close(1000);
        if (socket === opened) socket = null;
        people.set(EMPTY);
        link.set('connecting');
      };
    },
  };
}
