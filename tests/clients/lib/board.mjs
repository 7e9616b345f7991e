// A board's front end: texts about people and y-protocols for the drawing, on one socket.

import * as decoding from 'lib0/decoding';
import * as encoding from 'lib0/encoding';
import WebSocket from 'ws';
import * as awarenessProtocol from 'y-protocols/awareness';
import * as syncProtocol from 'y-protocols/sync';
import * as Y from 'yjs';

import { until } from './clients.mjs';

const SYNC = 0;
const AWARENESS = 1;
const QUERY_AWARENESS = 3;

export class Board {
  doc = new Y.Doc();
  awareness = new awarenessProtocol.Awareness(this.doc);
  /** Who is there, as the presence bar shows them: user id → entry. */
  people = new Map();
  /** Every text, in order. */
  texts = [];
  /** Everything that came, in order: the type of a text, or `binary`. */
  log = [];
  position = null;
  isSynced = false;
  close = null;
  #waiting = new Set();

  constructor(relay, id, { sub }) {
    const token = relay.token(`board/${id}`, { sub });
    this.socket = new WebSocket(`ws://127.0.0.1:${relay.port}/ws/boards/${id}?token=${token}`);
    this.socket.binaryType = 'arraybuffer';
    this.socket.on('open', () => {
      this.#send(SYNC, encoder => syncProtocol.writeSyncStep1(encoder, this.doc));
      this.#sendAwareness([this.doc.clientID]);
    });
    this.socket.on('message', (data, isBinary) => {
      isBinary ? this.#takeBinary(new Uint8Array(data)) : this.#takeText(JSON.parse(data.toString()));
      this.#stir();
    });
    this.socket.on('close', (code, reason) => {
      this.close = { code, reason: reason.toString() };
      this.#stir();
    });
    this.socket.on('error', () => {});
    this.doc.on('update', (update, origin) => {
      if (origin !== this) this.#send(SYNC, encoder => syncProtocol.writeUpdate(encoder, update));
      this.#stir();
    });
    this.awareness.on('update', ({ added, updated, removed }, origin) => {
      if (origin !== this) this.#sendAwareness([...added, ...updated, ...removed]);
      this.#stir();
    });
  }

  get shapes() {
    return this.doc.getMap('shapes');
  }

  say(type, payload = {}) {
    this.socket.send(JSON.stringify({ type, payload }));
  }

  until(what, condition) {
    return until([this], what, condition);
  }

  listen(look) {
    this.#waiting.add(look);
    return () => this.#waiting.delete(look);
  }

  leave() {
    this.socket.close(1000);
    this.awareness.destroy();
    this.doc.destroy();
  }

  #takeText(text) {
    this.texts.push(text);
    this.log.push(text.type);
    const { type, payload } = text;
    if (type === 'board:joined') {
      this.people = new Map(payload.current_users.map(user => [user.user_id, user]));
      this.position = null;
    } else if (type === 'board:queued') {
      this.position = payload.position;
    } else if (type === 'user:joined') {
      this.people.set(payload.user_id, payload);
    } else if (type === 'presence:update') {
      this.people.set(payload.user_id, { ...this.people.get(payload.user_id), ...payload });
    } else if (type === 'user:left') {
      this.people.delete(payload.user_id);
    }
  }

  #takeBinary(message) {
    this.log.push('binary');
    const decoder = decoding.createDecoder(message);
    const type = decoding.readVarUint(decoder);
    if (type === SYNC) {
      const answer = encoding.createEncoder();
      encoding.writeVarUint(answer, SYNC);
      const kind = syncProtocol.readSyncMessage(decoder, answer, this.doc, this);
      if (encoding.length(answer) > 1) this.socket.send(encoding.toUint8Array(answer));
      this.isSynced ||= kind === syncProtocol.messageYjsSyncStep2;
    } else if (type === AWARENESS) {
      awarenessProtocol.applyAwarenessUpdate(this.awareness, decoding.readVarUint8Array(decoder), this);
    } else if (type === QUERY_AWARENESS) {
      this.#sendAwareness([this.doc.clientID]);
    }
  }

  #sendAwareness(clients) {
    const update = awarenessProtocol.encodeAwarenessUpdate(this.awareness, clients);
    this.#send(AWARENESS, encoder => encoding.writeVarUint8Array(encoder, update));
  }

  #send(type, write) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const encoder = encoding.createEncoder();
    encoding.writeVarUint(encoder, type);
    write(encoder);
    this.socket.send(encoding.toUint8Array(encoder));
  }

  #stir() {
    for (const look of [...this.#waiting]) look();
  }
}
