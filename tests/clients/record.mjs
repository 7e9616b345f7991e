// Records what each real client sends, as fixtures for the codecs: one file per client.
//
// The server here is no relay: it says to each client the least that moves it to the next step, and
// writes down what comes. Usage: node record.mjs FOLDER

import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import * as encoding from 'lib0/encoding';
import { WebSocketServer } from 'ws';
import * as Y from 'yjs';

import { connect } from './lib/clients.mjs';

const ROOM = 'session/42';
const TOKEN = 'header.claims.signature';
const VERSIONS = {
  yws2: 'y-websocket 2.1.0',
  yws3: 'y-websocket 3.1.0',
  hp2: '@hocuspocus/provider 2.15.3',
  hp3: '@hocuspocus/provider 3.4.4',
  hp4: '@hocuspocus/provider 4.8.0',
};

/** What the server says, in the bodies that both protocols share. */
const bytes = write => {
  const encoder = encoding.createEncoder();
  write(encoder);
  return encoding.toUint8Array(encoder);
};
const STEP_1 = [0, 0, 1, 0];
const EMPTY_STEP_2 = [0, 1, 2, 0, 0];
const AUTHENTICATED = [2, 2, 10, ...Buffer.from('read-write')];
const TOKEN_WANTED = [2, 0];
const SAVED = [8, 1];

/** A server that answers a step 1 and an Auth, and keeps every frame it gets. */
class Recorder {
  frames = [];
  #waiting = null;

  static async start(isCollab) {
    const recorder = new Recorder();
    recorder.isCollab = isCollab;
    recorder.server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    recorder.server.on('connection', (socket, request) => {
      recorder.url = request.url;
      recorder.socket = socket;
      socket.on('message', (data, isBinary) => recorder.#take(new Uint8Array(data), isBinary));
    });
    await once(recorder.server, 'listening');
    return recorder;
  }

  get port() {
    return this.server.address().port;
  }

  sync = () => `ws://127.0.0.1:${this.port}/sync`;
  collab = () => `ws://127.0.0.1:${this.port}/collab`;

  /** Says something about a document, under the name by which the client calls it. */
  say(name, body) {
    const prefix = this.isCollab ? bytes(encoder => encoding.writeVarString(encoder, name)) : [];
    this.socket.send(Uint8Array.from([...prefix, ...body]));
  }

  /** The frames that come until there are `count`, and no more for a moment. */
  async next(count) {
    while (this.frames.length < count) await new Promise(resolve => (this.#waiting = resolve));
    await new Promise(resolve => setTimeout(resolve, 50));
    return this.frames.splice(0);
  }

  #take(frame, isBinary) {
    if (!isBinary) throw new Error('a text frame');
    this.frames.push(frame);
    this.#waiting?.();
  }
}

const hex = frame => Buffer.from(frame).toString('hex');

async function record(kind, { sessionAwareness = false } = {}) {
  const isCollab = kind.startsWith('hp');
  const recorder = await Recorder.start(isCollab);
  const lines = [];
  const note = (who, name, frames) => {
    lines.push('', `# ${who}`);
    frames.forEach((frame, n) => lines.push(`${name}${frames.length > 1 ? `_${n + 1}` : ''}: ${hex(frame)}`));
  };

  // Fixed, so that a new recording differs only where the client does.
  const doc = new Y.Doc();
  doc.clientID = 1234567890;
  const client = connect(kind, recorder, ROOM, { token: TOKEN, doc, ...(sessionAwareness && { sessionAwareness }) });
  const name = sessionAwareness ? `${ROOM}\0${client.provider.sessionId}` : ROOM;
  client.setPresence({ userId: 'ann', role: 'coach' }, { name: 'Ann', color: '#aa0000' });

  note(
    isCollab
      ? 'The client, when its socket is open: Auth with its token, sync step 1, its awareness entry.'
      : 'The client, when its socket is open: sync step 1, its awareness entry.',
    'open',
    await recorder.next(isCollab ? 3 : 2),
  );

  if (isCollab) {
    recorder.say(name, AUTHENTICATED);
    note(
      'The client, once the server has said something: what it wanted to send before its socket was open.',
      'queued',
      await recorder.next(1),
    );
  }
  recorder.say(name, STEP_1);
  recorder.say(name, EMPTY_STEP_2);
  note('The client, asked by a step 1 with an empty state vector: step 2.', 'step_2', await recorder.next(1));
  if (isCollab) recorder.say(name, SAVED);

  client.type('Grüße 👋');
  note('The client, whose user typed “Grüße 👋” into the text named “text”.', 'edit', await recorder.next(1));
  if (isCollab) recorder.say(name, SAVED);

  client.text.delete(0, 6);
  note('The client, whose user deleted “Grüße ”.', 'deletion', await recorder.next(1));
  if (isCollab) recorder.say(name, SAVED);

  client.awareness.setLocalStateField('cursor', { anchor: 1, head: 1 });
  note('The client, whose user moved the cursor.', 'awareness', await recorder.next(1));

  const other = bytes(encoder => {
    encoding.writeVarUint(encoder, 1);
    encoding.writeVarUint8Array(
      encoder,
      bytes(entry => {
        encoding.writeVarUint(entry, 1);
        encoding.writeVarUint(entry, 4_000_000_000);
        encoding.writeVarUint(entry, 7);
        encoding.writeVarString(entry, '{"user":{"name":"Bob"}}');
      }),
    );
  });
  recorder.say(name, other);
  if (kind !== 'hp4') {
    note('The client, told of somebody else’s state: the same again, an echo.', 'echo', await recorder.next(1));
  }

  recorder.say(name, [3]);
  note('The client, asked who is there (type 3): everybody it knows.', 'query_answer', await recorder.next(1));

  client.awareness.setLocalState(null);
  note('The client, whose program set its state to null.', 'null', await recorder.next(1));
  client.setPresence({ userId: 'ann' });
  note('The client, with a state again.', 'state_again', await recorder.next(1));

  if (isCollab) {
    client.provider.sendStateless('{"action":"version.create"}');
    note('The client, whose program sent a stateless message.', 'stateless', await recorder.next(1));
    client.provider.forceSync();
    note('The client, after forceSync(): step 1 again.', 'force_sync', await recorder.next(1));
    if (kind !== 'hp2') {
      recorder.say(name, TOKEN_WANTED);
      note('The client, asked for a fresh token: Auth again.', 'token_again', await recorder.next(1));
    }
  }
  if (kind === 'hp4') {
    recorder.socket.send(Uint8Array.from([9]));
    note('The client, pinged with the single byte 09: pong.', 'pong', await recorder.next(1));
  }

  client.close();
  const good_bye = isCollab
    ? 'The client, destroyed: null for its own entry and CLOSE, in its own order; then it closes the socket or not.'
    : 'The client, destroyed: null for its own entry; then it closes the socket.';
  note(good_bye, 'destroy', await recorder.next(isCollab ? 2 : 1));
  recorder.server.close();
  for (const socket of recorder.server.clients) socket.terminate();

  return [
    `# Frames that ${VERSIONS[kind]} sent${sessionAwareness ? ', with sessionAwareness' : ''}, recorded by tests/clients/record.mjs.`,
    `# One WebSocket message per line, in order. Document: ${ROOM}. Client id: ${client.id}.`,
    `# It connected to ${recorder.url}`,
    ...(sessionAwareness ? [`# The address in its frames is the document, NUL, and "${client.provider.sessionId}".`] : []),
    ...lines,
    '',
  ].join('\n');
}

/** hp2 without a token sends no Auth at all: its first frame is a step 1. */
async function recordTokenless() {
  const recorder = await Recorder.start(true);
  const doc = new Y.Doc();
  doc.clientID = 1234567890;
  const client = connect('hp2', recorder, ROOM, { token: null, doc });
  const frames = await recorder.next(2);
  client.close();
  recorder.server.close();
  for (const socket of recorder.server.clients) socket.terminate();
  return [
    `# Frames that ${VERSIONS.hp2} sent when it had no token, recorded by tests/clients/record.mjs.`,
    '',
    '# The client, when its socket is open: no Auth, but sync step 1 and its awareness entry at once.',
    ...frames.map((frame, n) => `open_${n + 1}: ${hex(frame)}`),
    '',
  ].join('\n');
}

const folder = process.argv[2];
if (!folder) {
  console.error('usage: node record.mjs FOLDER');
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
const recordings = {
  'y_websocket_2.hex': await record('yws2'),
  'y_websocket_3.hex': await record('yws3'),
  'hocuspocus_2.hex': await record('hp2'),
  'hocuspocus_2_without_token.hex': await recordTokenless(),
  'hocuspocus_3.hex': await record('hp3'),
  'hocuspocus_4.hex': await record('hp4'),
  'hocuspocus_4_sessions.hex': await record('hp4', { sessionAwareness: true }),
};
for (const [name, text] of Object.entries(recordings)) {
  writeFileSync(join(folder, name), text);
  console.log(`${name}: ${text.split('\n').filter(line => /^\w+: /.test(line)).length} frames`);
}
process.exit(0);
