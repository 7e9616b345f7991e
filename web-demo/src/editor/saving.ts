// What has become of an edit: sent, received by the relay, on its disk. Each is said only when known.

import { createStore, type Store } from '../presence/store';

export type SaveState =
  /** There is no connection; edits wait here. */
  | 'waiting'
  /** On its way, as far as we know. */
  | 'sending'
  /** The relay has it, and so have the others. A disk may still be thinking. */
  | 'received'
  /** The relay has acknowledged that it survives a loss of power. */
  | 'on disk';

/** What of a Hocuspocus provider is needed here. */
export interface SavingProvider {
  /** Edits without the acknowledgement that they are stored; 0 is all of them stored. */
  readonly unsyncedChanges: number;
  readonly synced: boolean;
  readonly document: { on: DocumentEvents; off: DocumentEvents };
  /** Sends the token again; the relay answers in order, after the edits before it. */
  sendToken(): Promise<void>;
  on(event: string, listener: (data: never) => void): unknown;
  off(event: string, listener: (data: never) => void): unknown;
}

type DocumentEvents = (
  event: 'update',
  listener: (update: Uint8Array, origin: unknown) => void,
) => unknown;

/**
 * How long an acknowledgement may take before we ask whether the edit has arrived at least. A disk
 * is faster than that, so asking is the exception.
 */
export const ASK_AFTER_MS = 300;

export interface Saving {
  readonly state: Store<SaveState>;
  open(): () => void;
}

export function createSaving(provider: SavingProvider): Saving {
  const state = createStore<SaveState>('waiting');
  let edits = 0;
  /** How many edits there were when we last asked; how many have arrived. */
  let asked: number | null = null;
  let arrived = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const ask = () => {
    timer = undefined;
    if (!provider.synced || provider.unsyncedChanges === 0 || asked !== null) return;
    asked = edits;
    void provider.sendToken();
  };

  const tell = () => {
    if (!provider.synced) return state.set('waiting');
    if (provider.unsyncedChanges === 0) {
      clearTimeout(timer);
      timer = undefined;
      arrived = edits;
      return state.set('on disk');
    }
    if (arrived === edits) return state.set('received');
    timer ??= setTimeout(ask, ASK_AFTER_MS);
    state.set('sending');
  };

  return {
    state,
    open() {
      const onUpdate = (_update: Uint8Array, origin: unknown) => {
        if (origin === provider) return;
        edits += 1;
        tell();
      };
      const onAnswer = () => {
        if (asked === null) return;
        arrived = asked;
        asked = null;
        tell();
      };
      const onStatus = ({ status }: { status: string }) => {
        // An answer to what we asked will not come any more.
        if (status !== 'connected') asked = null;
        tell();
      };
      provider.document.on('update', onUpdate);
      provider.on('unsyncedChanges', tell);
      provider.on('synced', tell);
      provider.on('status', onStatus);
      provider.on('close', tell);
      provider.on('authenticated', onAnswer);
      tell();
      return () => {
        clearTimeout(timer);
        timer = undefined;
        provider.document.off('update', onUpdate);
        provider.off('unsyncedChanges', tell);
        provider.off('synced', tell);
        provider.off('status', onStatus);
        provider.off('close', tell);
        provider.off('authenticated', onAnswer);
      };
    },
  };
}
