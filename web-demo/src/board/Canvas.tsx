// The board itself: notes that can be moved, by pointer and by arrow keys, and everybody's pointers.

import { type KeyboardEvent, type PointerEvent, type ReactNode, useRef } from 'react';

import { nameOf, type Person } from '../people';
import { type Board, type Cursor, inkOn, useBoardCursors, useBoardPresence } from '../presence';
import { type Note, useNotes } from './useNotes';

/** Pointers are told this often at most. */
const CURSOR_EVERY_MS = 50;
const STEP = 2;

export interface CanvasProps {
  readonly board: Board;
  readonly person: Person;
  /** More tools, beside ours. */
  readonly children: ReactNode;
}

export function Canvas({ board, person, children }: CanvasProps) {
  const { notes, put, remove } = useNotes(board);
  const area = useRef<HTMLDivElement>(null);
  const saidAt = useRef(0);

  const placeOf = ({ clientX, clientY }: PointerEvent): Cursor => {
    const box = area.current?.getBoundingClientRect() ?? new DOMRect();
    return {
      x: round(((clientX - box.left) / Math.max(1, box.width)) * 100),
      y: round(((clientY - box.top) / Math.max(1, box.height)) * 100),
    };
  };
  const onPointerMove = (event: PointerEvent) => {
    const now = Date.now();
    if (now - saidAt.current < CURSOR_EVERY_MS) return;
    saidAt.current = now;
    board.setCursor(placeOf(event));
  };
  const add = () =>
    put({
      id: `${Date.now()}-${person.id}`,
      x: 8 + ((notes.length * 17) % 60),
      y: 12 + ((notes.length * 13) % 55),
      text: '',
      color: person.color,
    });

  return (
    <>
      <div className="canvas" ref={area} onPointerMove={onPointerMove}>
        {notes.length === 0 && <p className="waiting">An empty board. Put the first note on it.</p>}
        {notes.map(note => (
          <NoteView key={note.id} note={note} placeOf={placeOf} put={put} remove={remove} />
        ))}
        <Pointers board={board} />
      </div>
      <div className="board-tools">
        <button type="button" className="button" onClick={add}>
          Add a note
        </button>
        {children}
      </div>
    </>
  );
}

const round = (number: number) => Math.round(number * 10) / 10;
const within = (number: number, max: number) => Math.min(max, Math.max(0, round(number)));

interface NoteViewProps {
  readonly note: Note;
  readonly placeOf: (event: PointerEvent) => Cursor;
  readonly put: (note: Note) => void;
  readonly remove: (id: string) => void;
}

function NoteView({ note, placeOf, put, remove }: NoteViewProps) {
  const grip = useRef<Cursor | null>(null);
  const move = (x: number, y: number) => put({ ...note, x: within(x, 80), y: within(y, 78) });
  const onPointerDown = (event: PointerEvent) => {
    const at = placeOf(event);
    grip.current = { x: at.x - note.x, y: at.y - note.y };
    event.currentTarget.setPointerCapture(event.pointerId);
  };
  const onPointerMove = (event: PointerEvent) => {
    if (grip.current === null) return;
    const at = placeOf(event);
    move(at.x - grip.current.x, at.y - grip.current.y);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, readonly [number, number]> = {
      ArrowLeft: [-STEP, 0],
      ArrowRight: [STEP, 0],
      ArrowUp: [0, -STEP],
      ArrowDown: [0, STEP],
    };
    const step = steps[event.key];
    if (step !== undefined) {
      event.preventDefault();
      move(note.x + step[0], note.y + step[1]);
    }
  };
  return (
    <div className="note" style={{ insetInlineStart: `${note.x}%`, insetBlockStart: `${note.y}%` }}>
      <div className="note-bar" style={{ backgroundColor: note.color }} data-ink={inkOn(note.color)}>
        <button
          type="button"
          className="note-grip"
          aria-label="Move this note: drag it, or use the arrow keys"
          onPointerDown={onPointerDown}
          onPointerMove={onPointerMove}
          onPointerUp={() => (grip.current = null)}
          onKeyDown={onKeyDown}
        >
          ⠿
        </button>
        <button
          type="button"
          className="note-remove"
          aria-label="Remove this note"
          onClick={() => remove(note.id)}
        >
          ×
        </button>
      </div>
      <textarea
        aria-label="Note"
        value={note.text}
        rows={2}
        onChange={event => put({ ...note, text: event.target.value })}
      />
    </div>
  );
}

/** Apart, so that a moving pointer draws no note again. */
function Pointers({ board }: { readonly board: Board }) {
  const cursors = useBoardCursors(board);
  const { participants } = useBoardPresence(board);
  return Object.entries(cursors).map(([userId, { x, y }]) => {
    const color = participants.find(participant => participant.userId === userId)?.color ?? null;
    return (
      <span
        key={userId}
        className="pointer"
        aria-hidden="true"
        style={{ insetInlineStart: `${x}%`, insetBlockStart: `${y}%`, ...(color ? { color } : {}) }}
      >
        <svg viewBox="0 0 16 16" width="16" height="16">
          <path d="M1 1l5 14 2.4-5.6L14 7z" fill="currentColor" />
        </svg>
        <span
          className="pointer-name"
          data-ink={inkOn(color)}
          style={color ? { backgroundColor: color } : undefined}
        >
          {nameOf(userId)}
        </span>
      </span>
    );
  });
}
