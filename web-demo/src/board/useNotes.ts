// The notes on a board: one shared map from id to note.

import { useEffect, useMemo, useState } from 'react';
import * as Y from 'yjs';

import type { Board } from '../presence';
import { createStore, useStore } from '../presence/store';
import { syncOnSocket } from './documentOnSocket';

/** Where it is, in hundredths of the board, and what is on it. */
export interface Note {
  readonly id: string;
  readonly x: number;
  readonly y: number;
  readonly text: string;
  readonly color: string;
}

export interface Notes {
  readonly notes: readonly Note[];
  readonly put: (note: Note) => void;
  readonly remove: (id: string) => void;
}

export function useNotes(board: Board): Notes {
  const [doc] = useState(() => new Y.Doc());
  const store = useMemo(() => createStore<readonly Note[]>([]), []);
  const map = useMemo(() => doc.getMap<Note>('notes'), [doc]);
  useEffect(() => {
    const read = () =>
      store.set([...map.values()].sort((one, other) => one.id.localeCompare(other.id)));
    map.observe(read);
    const stop = syncOnSocket(doc, board);
    return () => {
      stop();
      map.unobserve(read);
    };
  }, [doc, map, store, board]);
  const notes = useStore(store);
  return useMemo(
    () => ({
      notes,
      put: note => void map.set(note.id, note),
      remove: id => map.delete(id),
    }),
    [notes, map],
  );
}
