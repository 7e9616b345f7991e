// Rounds of writing and SIGKILL: what was acknowledged must be there when the relay is back.
//
// A round: real Hocuspocus clients and a back end write numbered keys into a few rooms, as fast as
// they are let; the relay is killed at a random moment; the clients go for good, so that nothing
// can be sent again; the next relay, on another port, is asked for the documents.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import * as Y from 'yjs';

import { COLLAB_KINDS, connect } from './clients.mjs';
import { Random } from './random.mjs';
import { BINARY, Relay } from './relay.mjs';

const ROOMS_AT_ONCE = 2;
/** Rooms are used for so many rounds, so that most rounds continue what was killed before. */
const ROUNDS_PER_ROOM = 12;
/** The last so many rounds' store is looked at with `check` while nothing runs. */
const ROUNDS_PER_CHECK = 40;
const WRITE_EVERY_MS = 2;
/** One round in so many is killed while clients are still arriving. */
const EARLY_KILL_IN = 8;

/** @param {string[]} store the options that name the store: of the relay, and of `check` */
export async function survivesKills(t, store, { minimum, rounds = roundsWanted() } = {}) {
  const seed = Number(process.env.TEST_COPRESENCE_KILL_SEED ?? randomInt(2 ** 31));
  t.diagnostic(`${rounds} rounds, TEST_COPRESENCE_KILL_SEED=${seed}`);
  const random = new Random(seed);
  const promised = new Map(); // Room → the keys that must be in it.
  const sums = { acknowledged: 0, written: 0, posted: 0, quietRounds: 0 };

  let relay = await Relay.start({ args: store });
  t.after(() => relay.dispose());
  for (let round = 0; round < rounds; round += 1) {
    const names = roomsOf(round);
    for (const name of names) if (!promised.has(name)) promised.set(name, new Set());
    const writers = [
      ...COLLAB_KINDS.map((kind, n) => new ClientWriter(relay, kind, names[(round + n) % names.length], round)),
      new BackEndWriter(relay, names[round % names.length], round),
    ];
    const context = `round ${round} of TEST_COPRESENCE_KILL_SEED=${seed}`;
    try {
      if (!random.oneIn(EARLY_KILL_IN)) await Promise.all(writers.map(writer => writer.ready()));
      await sleep(random.between(20, 200));
      await relay.kill();
      await Promise.all(writers.map(writer => writer.end()));
    } catch (error) {
      throw new Error(`${context}: ${error.message}`, { cause: error });
    }
    let acknowledgedNow = 0;
    for (const writer of writers) {
      for (const key of writer.acknowledged()) promised.get(writer.room).add(key);
      acknowledgedNow += writer.acknowledged().length;
      sums.written += writer.written;
    }
    sums.acknowledged += acknowledgedNow;
    sums.posted += writers.at(-1).acknowledged().length;
    sums.quietRounds += acknowledgedNow === 0 ? 1 : 0;

    if (round % ROUNDS_PER_CHECK === ROUNDS_PER_CHECK - 1) await assertSound(store, context);
    await relay.restartElsewhere();
    for (const name of names) await assertKept(relay, name, promised.get(name), context);
  }

  // What one round wrote must outlive the kills of all later ones.
  for (const [name, keys] of promised) await assertKept(relay, name, keys, `the end, seed ${seed}`);
  const { code } = await relay.terminate();
  assert.equal(code, 0, 'a drained relay exits in order');
  await assertSound(store, `the end, seed ${seed}`);
  t.diagnostic(JSON.stringify(sums));
  // A test in which nothing was promised shows nothing.
  assert.ok(sums.acknowledged > rounds * 10, `too little was acknowledged: ${JSON.stringify(sums)}`);
  assert.ok(sums.acknowledged < sums.written, 'no kill came before an acknowledgement');
  assert.ok(sums.quietRounds < rounds / 2, `too many rounds without any: ${JSON.stringify(sums)}`);
}

function roundsWanted() {
  return Number(process.env.TEST_COPRESENCE_KILL_ROUNDS ?? 200);
}

function roomsOf(round) {
  const generation = Math.floor(round / ROUNDS_PER_ROOM);
  return Array.from({ length: ROOMS_AT_ONCE }, (_, n) => `session/kill-${generation}-${n}`);
}

/** A real client that writes a key every moment, and counts what it was told is saved. */
class ClientWriter {
  written = 0;
  #isWriting = true;

  constructor(relay, kind, room, round) {
    this.room = room;
    this.prefix = `${round}-${kind}-`;
    this.client = connect(kind, relay, room, { sub: kind });
    this.writing = this.#write();
  }

  ready() {
    return this.client.until('a first acknowledgement', () => this.acknowledged().length > 0);
  }

  /** The keys whose acknowledgement has arrived: the relay acknowledges in the order of writing. */
  acknowledged() {
    return keys(this.prefix, this.#isCounting ? this.written - this.client.unsynced : 0);
  }

  #isCounting = false;

  async #write() {
    // What it sends of its own accord on arrival is acknowledged first; then one counts for one.
    try {
      await this.client.whenSaved();
    } catch (error) {
      if (this.#isWriting) throw error;
      return;
    }
    this.#isCounting = true;
    const map = this.client.doc.getMap('keys');
    while (this.#isWriting) {
      map.set(this.prefix + this.written, this.written);
      this.written += 1;
      await sleep(WRITE_EVERY_MS);
    }
  }

  /** Stops; what the relay said before it was killed is heard to its end. */
  async end() {
    this.#isWriting = false;
    const socket = this.client.webSocket;
    if (socket && socket.readyState < 2) {
      await new Promise(resolve => socket.addEventListener('close', resolve));
    }
    const unsynced = this.client.unsynced;
    const acknowledged = this.acknowledged();
    this.acknowledged = () => acknowledged;
    assert.ok(unsynced >= 0, `${this.prefix}: more acknowledgements than changes`);
    this.client.close();
  }
}

/** A back end that posts keys: 204 says that they are on disk. */
class BackEndWriter {
  written = 0;
  #posted = 0;
  #isWriting = true;

  constructor(relay, room, round) {
    this.room = room;
    this.prefix = `${round}-back-end-`;
    this.writing = this.#write(relay);
  }

  async ready() {}

  acknowledged() {
    return keys(this.prefix, this.#posted);
  }

  async #write(relay) {
    const doc = new Y.Doc();
    const path = `/v1/rooms/${this.room}/document`;
    while (this.#isWriting) {
      const before = Y.encodeStateVector(doc);
      doc.getMap('keys').set(this.prefix + this.written, this.written);
      this.written += 1;
      const body = Y.encodeStateAsUpdate(doc, before);
      try {
        const headers = { 'content-type': 'application/octet-stream' };
        const answer = await relay.fetch(path, { method: 'POST', headers, body });
        if (answer.status !== 204) throw new Error(`POST was answered ${answer.status}`);
      } catch (error) {
        // The relay was killed before it answered: this key was not promised, and it is the last.
        if (error.cause) return;
        throw error;
      }
      this.#posted = this.written;
    }
  }

  async end() {
    this.#isWriting = false;
    await this.writing;
  }
}

const keys = (prefix, count) => Array.from({ length: Math.max(count, 0) }, (_, n) => prefix + n);

/** Reads a document afresh: nobody but the store can have told the relay what is in it. */
async function assertKept(relay, room, promised, context) {
  const answer = await relay.fetch(`/v1/rooms/${room}/document`);
  assert.equal(answer.status, 200, `${context}: ${room} is not readable`);
  assert.equal(answer.headers.get('x-copresence-durable'), 'true', `${context}: what was read is not durable`);
  const doc = new Y.Doc();
  Y.applyUpdate(doc, new Uint8Array(await answer.arrayBuffer()));
  const map = doc.getMap('keys');
  const lost = [...promised].filter(key => map.get(key) !== Number(key.split('-').at(-1)));
  assert.deepEqual(lost.slice(0, 10), [], `${context}: ${lost.length} acknowledged keys of ${room} are lost`);
  assert.equal(doc.store.pendingStructs, null, `${context}: ${room} has updates without those before them`);
  // Of each writer the first so many are there: nothing overtook what came before it.
  const counts = new Map();
  for (const [key, number] of map.entries()) {
    const writer = key.slice(0, key.lastIndexOf('-'));
    const { count = 0, newest = -1 } = counts.get(writer) ?? {};
    counts.set(writer, { count: count + 1, newest: Math.max(newest, number) });
  }
  for (const [writer, { count, newest }] of counts) {
    assert.equal(count, newest + 1, `${context}: of ${writer} in ${room} some are missing in between`);
  }
  doc.destroy();
}

/** `copresence check` finds no damage. */
async function assertSound(store, context) {
  try {
    const { stdout } = await promisify(execFile)(BINARY, ['check', ...store]);
    assert.match(stdout, /no damage/);
  } catch (error) {
    throw new Error(`${context}: check failed: ${error.message}\n${error.stdout ?? ''}`);
  }
}
