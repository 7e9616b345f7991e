// Whether what was written is safe.

import { useEffect, useMemo } from 'react';

import { createStore, useStore } from '../presence/store';
import { createSaving, type SaveState, type SavingProvider } from './saving';

const TEXT: Record<SaveState, string> = {
  waiting: 'Not connected',
  sending: 'Sending…',
  received: 'Received',
  'on disk': 'On disk',
};

const MEANS: Record<SaveState, string> = {
  waiting: 'What is written now is sent when the connection is back.',
  sending: 'On its way to the relay.',
  received: 'The relay and the others have it; it is not on disk yet.',
  'on disk': 'The relay has acknowledged everything: it survives a loss of power.',
};

const NOTHING = createStore<SaveState>('waiting');

export function SaveBadge({ provider }: { readonly provider: SavingProvider | null }) {
  const saving = useMemo(() => (provider === null ? null : createSaving(provider)), [provider]);
  useEffect(() => saving?.open(), [saving]);
  const state = useStore(saving?.state ?? NOTHING);
  return (
    <span className="badge" data-state={state} title={MEANS[state]}>
      <span className="badge-mark" aria-hidden="true" />
      {TEXT[state]}
    </span>
  );
}
