// Who is in a coaching session, read from the awareness of the document's own provider.
//
// No second connection: the provider of the editor brings everything. Who somebody is (`userId`,
// `name`, `role`) was set by the relay from their token, so it can be believed.

import { useEffect, useMemo } from 'react';

import { GRACE_MS, watchLink } from './link';
import type { Link, Participant } from './model';
import { EMPTY, type Roster, snapshot } from './roster';
import { createStore, type Store, useStore } from './store';

/** What we say about ourselves. */
export interface OwnPresence {
  readonly userId: string;
  readonly name: string;
  readonly role: string;
  readonly color?: string;
}

/** A provider of a Yjs document: `HocuspocusProvider`, `TiptapCollabProvider`, `WebsocketProvider`. */
export interface SessionProvider {
  readonly awareness: SessionAwareness | null | undefined;
  readonly synced: boolean;
  // Each library types its events in its own way.
  on(event: any, listener: any): unknown;
  off(event: any, listener: any): unknown;
}

export interface SessionAwareness {
  readonly clientID: number;
  getStates(): Map<number, Record<string, any>>;
  getLocalState(): Record<string, any> | null;
  setLocalState(state: Record<string, any> | null): void;
  setLocalStateField(field: string, value: any): void;
  on(event: 'change', listener: (changes: AwarenessChange) => void): unknown;
  off(event: 'change', listener: (changes: AwarenessChange) => void): unknown;
}

export interface AwarenessChange {
  readonly added: number[];
  readonly updated: number[];
  readonly removed: number[];
}

export interface SessionPresence {
  /** Everybody seen since the page was opened, those gone included. */
  readonly participants: Roster;
  readonly link: Link;
}

export interface SessionOptions {
  /** How long a break of our own link leaves the picture as it was. */
  readonly graceMs?: number;
}

/** Shows `me` to the others of the session, and them to us. */
export function useSessionPresence(
  provider: SessionProvider | null,
  me: OwnPresence,
  { graceMs = GRACE_MS }: SessionOptions = {},
): SessionPresence {
  const { userId, name, role, color } = me;
  const session = useMemo(
    () => (provider === null ? null : createSession(provider, graceMs)),
    [provider, graceMs],
  );
  useEffect(() => session?.open(), [session]);
  useEffect(
    () => session?.announce({ userId, name, role, ...(color === undefined ? {} : { color }) }),
    [session, userId, name, role, color],
  );
  const participants = useStore(session?.roster ?? NOBODY);
  const link = useStore(session?.link ?? CONNECTING);
  return useMemo(() => ({ participants, link }), [participants, link]);
}

const NOBODY = createStore<Roster>(EMPTY);
const CONNECTING = createStore<Link>('connecting');

/** A user's part in a session: connected now, or when last seen. */
export function presenceOf(presence: SessionPresence, userId: string): Participant | undefined {
  return presence.participants.find(participant => participant.userId === userId);
}

interface Session {
  readonly roster: Store<Roster>;
  readonly link: Store<Link>;
  announce(me: OwnPresence): () => void;
  open(): () => void;
}

function createSession(provider: SessionProvider, graceMs: number): Session {
  const roster = createStore<Roster>(EMPTY);
  const link = createStore<Link>('connecting');
  // Of several tabs of a user the one that changed last is shown, as the relay does it.
  const changedAt = new Map<number, number>();
  let turn = 0;
  /** While it runs, who was there before our break counts as there. */
  let holding: ReturnType<typeof setTimeout> | undefined;
  let isUp = false;
  let own: OwnPresence | null = null;

  const draw = () => {
    const isTold = isUp || holding !== undefined;
    const present = isTold ? fold(provider.awareness, changedAt) : new Map<string, Participant>();
    const absent = roster.get().filter(participant => !present.has(participant.userId));
    const now = new Date().toISOString();
    roster.set(
      snapshot(roster.get(), [
        ...present.values(),
        ...absent.map(participant =>
          !participant.isConnected || holding !== undefined
            ? participant
            : ({ ...participant, isConnected: false, status: 'offline', lastSeen: now } as const),
        ),
      ]),
    );
  };

  const hold = () => {
    clearTimeout(holding);
    holding = setTimeout(() => {
      holding = undefined;
      draw();
    }, graceMs);
  };

  const announceOwn = () => {
    const { awareness } = provider;
    if (own === null || !awareness) return;
    const field = { ...own, isConnected: true, lastSeen: new Date().toISOString() };
    // A page that was hidden for good and is back has no local state to set a field of.
    if (awareness.getLocalState() === null) awareness.setLocalState({ presence: field });
    else awareness.setLocalStateField('presence', field);
  };

  return {
    roster,
    link,
    announce(me) {
      own = me;
      announceOwn();
      return () => {
        own = null;
        if (provider.awareness?.getLocalState()) {
          provider.awareness.setLocalStateField('presence', null);
        }
      };
    },
    open() {
      const state = watchLink(link, graceMs);
      const up = () => {
        isUp = true;
        state.up();
        draw();
      };
      const down = () => {
        if (!isUp) return;
        // First, for the provider is about to forget everybody else.
        hold();
        isUp = false;
        state.down();
      };
      // Some providers say first that they are no longer in sync, and then that the link is lost.
      const onSynced = () => (provider.synced ? up() : down());
      const onStatus = ({ status }: { status: string }) => {
        if (status !== 'connected') down();
      };
      const onChange = ({ added, updated, removed }: AwarenessChange) => {
        turn += 1;
        for (const client of [...added, ...updated]) changedAt.set(client, turn);
        for (const client of removed) changedAt.delete(client);
        draw();
      };
      const onPageShow = () => {
        if (provider.awareness?.getLocalState() === null) announceOwn();
      };
      const { awareness } = provider;
      provider.on('synced', onSynced);
      provider.on('status', onStatus);
      provider.on('disconnect', down);
      provider.on('authenticationFailed', state.refused);
      awareness?.on('change', onChange);
      window.addEventListener('pageshow', onPageShow);
      if (provider.synced) up();
      return () => {
        provider.off('synced', onSynced);
        provider.off('status', onStatus);
        provider.off('disconnect', down);
        provider.off('authenticationFailed', state.refused);
        awareness?.off('change', onChange);
        window.removeEventListener('pageshow', onPageShow);
        clearTimeout(holding);
        holding = undefined;
        state.dispose();
      };
    },
  };
}

/** All tabs of all users, as one participant per user. */
function fold(
  awareness: SessionAwareness | null | undefined,
  changedAt: ReadonlyMap<number, number>,
): Map<string, Participant> {
  const present = new Map<string, Participant>();
  const states = [...(awareness?.getStates() ?? [])];
  states.sort(([one], [other]) => (changedAt.get(one) ?? 0) - (changedAt.get(other) ?? 0));
  for (const [, state] of states) {
    const participant = participantOf(state);
    if (participant !== null) present.set(participant.userId, participant);
  }
  return present;
}

function participantOf(state: Record<string, any>): Participant | null {
  const presence: unknown = state.presence;
  if (typeof presence !== 'object' || presence === null) return null;
  const { userId, name, role, color, avatar } = presence as Record<string, unknown>;
  if (typeof userId !== 'string') return null;
  return {
    userId,
    name: typeof name === 'string' ? name : userId,
    avatar: typeof avatar === 'string' ? avatar : null,
    role: typeof role === 'string' ? role : null,
    color: typeof color === 'string' ? color : null,
    status: 'online',
    isConnected: true,
    lastSeen: null,
    data: null,
  };
}
