// Yjs over the binary frames of a board's own socket, which speak y-websocket's protocol.

import { createDecoder, readVarUint } from 'lib0/decoding';
import { createEncoder, length, toUint8Array, writeVarUint } from 'lib0/encoding';
import { readSyncMessage, writeSyncStep1, writeUpdate } from 'y-protocols/sync';
import type * as Y from 'yjs';

import type { Board } from '../presence';

const SYNC = 0;

/** Keeps a document the same as everybody's on the board; returns what ends that. */
export function syncOnSocket(doc: Y.Doc, board: Board): () => void {
  const origin = { board };
  const stopJoined = board.onJoined(() => {
    const encoder = createEncoder();
    writeVarUint(encoder, SYNC);
    writeSyncStep1(encoder, doc);
    board.sendBinary(toUint8Array(encoder));
  });
  const stopBinary = board.onBinary(bytes => {
    const decoder = createDecoder(bytes);
    // Carets are the other kind of frame; a board has pointers instead.
    if (readVarUint(decoder) !== SYNC) return;
    const answer = createEncoder();
    writeVarUint(answer, SYNC);
    readSyncMessage(decoder, answer, doc, origin);
    if (length(answer) > 1) board.sendBinary(toUint8Array(answer));
  });
  const onUpdate = (update: Uint8Array, from: unknown) => {
    if (from === origin) return;
    const encoder = createEncoder();
    writeVarUint(encoder, SYNC);
    writeUpdate(encoder, update);
    board.sendBinary(toUint8Array(encoder));
  };
  doc.on('update', onUpdate);
  return () => {
    stopJoined();
    stopBinary();
    doc.off('update', onUpdate);
  };
}
