// What a client says for a document that it closed, was refused, or could only read before.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import { after, before, describe, test } from 'node:test';

import * as encoding from 'lib0/encoding';
import * as Y from 'yjs';

import { COLLAB_KINDS, collabSocket, converge, host, until } from '../lib/clients.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';
import { inSeconds } from '../lib/token.mjs';

let relay;
const folder = mkdtempSync(path(tmpdir(), 'copresence-reopening-'));
before(async () => {
  const config = path(folder, 'config.toml');
  writeFileSync(config, '[kind.board]\ncapacity = 1\n');
  relay = await Relay.start({ args: ['--config', config] });
});
after(async () => {
  await relay.dispose();
  rmSync(folder, { recursive: true });
});

/** From the moment at which the relay has let somebody in to being seen. */
const AT_ONCE_MS = 1_000;

/** Destroys the provider and keeps the document, as an editor does that is mounted again. */
function unmount(client) {
  client.isClosed = true;
  client.end();
}

/** Every count of unsaved changes that the program is told from now on. */
function counts(client) {
  const seen = [];
  client.provider.on('unsyncedChanges', () => seen.push(client.unsynced));
  return seen;
}

/** A frame of the client's protocol, as it would write it. */
function frame(name, ...parts) {
  const encoder = encoding.createEncoder();
  encoding.writeVarString(encoder, name);
  for (const part of parts) {
    typeof part === 'string' ? encoding.writeVarString(encoder, part) : encoding.writeVarUint(encoder, part);
  }
  return encoding.toUint8Array(encoder);
}

const AUTH = 2;
const CLOSE = 7;

/** Gives the client's document a new token, without a new start of sync. 2.15 has no call for that. */
async function renew(client, room, token) {
  client.provider.configuration.token = token;
  if (client.kind === 'hp2') client.socket.send(frame(room, AUTH, 0, token));
  else await client.provider.sendToken();
}

describe('a farewell that comes behind the next greeting', { concurrency: 3 }, () => {
  const AGAIN = {
    'mounted twice': doc => doc,
    'left and entered again': doc => {
      const again = new Y.Doc();
      Y.applyUpdate(again, Y.encodeStateAsUpdate(doc));
      return again;
    },
  };
  const WORDS = { 'with edits': 'typed offline. ', 'without edits': '' };

  for (const kind of COLLAB_KINDS) {
    for (const [how, again] of Object.entries(AGAIN)) {
      for (const [what, words] of Object.entries(WORDS)) {
        test(`${kind} ${how}, ${what}, before its socket is open`, async t => {
          const room = freshRoom('again');
          const join = host(t, relay);
          const socket = collabSocket(t, kind, relay.collab());
          const doc = new Y.Doc();
          const first = join(kind, room, { socket, sub: 'ann', doc });
          first.setPresence({ note: 'the first' });
          first.setPresence({ note: 'the first, still' });
          if (words) first.type(words);
          unmount(first);
          const ann = join(kind, room, { socket, sub: 'ann', doc: again(doc) });
          ann.setPresence({ note: 'ann' });
          const ben = join('yws3', room, { sub: 'ben' });
          ben.setPresence({ note: 'ben' });
          await Promise.all([ann.whenSynced(), ben.whenSynced()]);
          await until(
            [ann, ben],
            'each other',
            () => ann.sees(ben)?.presence?.note === 'ben' && ben.sees(ann)?.presence?.note === 'ann',
            AT_ONCE_MS,
          );
          await converge([ann, ben], ({ text }) => text.toString() === words);
          const seen = counts(ann);
          ann.type('and online.');
          await converge([ann, ben], ({ text }) => text.toString() === `${words}and online.`);
          ben.type(' Heard.');
          await converge([ann, ben], ({ text }) => text.toString() === `${words}and online. Heard.`);
          await ann.whenSaved({ wasOffline: words !== '' });
          if (!words) assert.ok(seen.every(count => 0 <= count), `${seen}`);
          // Everybody who comes sees the one, once.
          const cid = join('hp4', room, { sub: 'cid' });
          await cid.until('both', () => cid.sees(ann) && cid.sees(ben));
          assert.equal(cid.states.size, 3);
          ann.close();
          await until([ben, cid], 'ann gone', () => !ben.sees(ann) && !cid.sees(ann));
        });
      }
    }

    test(`${kind} mounted again on an open socket, at once`, async t => {
      const room = freshRoom('remount');
      const join = host(t, relay);
      const socket = collabSocket(t, kind, relay.collab());
      const ben = join('yws3', room, { sub: 'ben' });
      ben.setPresence({ note: 'ben' });
      const doc = new Y.Doc();
      let ann = join(kind, room, { socket, sub: 'ann', doc });
      await ann.whenSaved();
      for (let round = 0; round < 5; round += 1) {
        ann.setPresence({ note: `before ${round}` });
        ann.type('x');
        unmount(ann);
        ann = join(kind, room, { socket, sub: 'ann', doc });
        ann.setPresence({ note: `after ${round}` });
      }
      await until([ann, ben], 'each other', () => ann.sees(ben) && ben.sees(ann)?.presence?.note === 'after 4');
      await converge([ann, ben], ({ text }) => text.toString() === 'xxxxx');
      await ann.whenSaved({ wasOffline: true });
    });

    test(`${kind} that really leaves stays away`, async t => {
      const room = freshRoom('gone');
      const join = host(t, relay);
      const socket = collabSocket(t, kind, relay.collab());
      const ben = join('yws3', room, { sub: 'ben' });
      const [ann, other] = [room, freshRoom('other')].map(name => join(kind, name, { socket, sub: 'ann', token: anywhere() }));
      for (const client of [ann, ben]) client.setPresence({ note: client.kind });
      await until([ann, ben], 'each other', () => ann.sees(ben) && ben.sees(ann));
      ann.type('bye');
      unmount(ann);
      await ben.until('ann gone', () => !ben.sees(ann) && ben.text.toString() === 'bye');
      // Whatever the relay sends to the closed document brings nobody back.
      ben.type('!');
      other.type('still here');
      await other.whenSaved({ wasOffline: true });
      const { participants } = await relay.json(`/v1/rooms/${room}/presence`);
      assert.deepEqual(participants.map(({ userId, isConnected }) => [userId, isConnected]), [['ben', true], ['ann', false]]);
    });
  }
});

const anywhere = () => relay.token('*', { sub: 'ann' });

describe('a reader who becomes a writer', { concurrency: 3 }, () => {
  for (const kind of COLLAB_KINDS) {
    test(`${kind} is heard, with what was refused before, and counts down to zero`, async t => {
      const room = freshRoom('promoted');
      const join = host(t, relay);
      const ben = join('yws3', room, { sub: 'ben' });
      ben.type('content. ');
      const ann = join(kind, room, { sub: 'ann', access: 'read' });
      await ann.until('the content', () => ann.text.toString() === 'content. ');
      await ann.whenSaved();
      const seen = counts(ann);
      for (const word of ['one ', 'two ', 'three ']) ann.type(word);
      assert.equal(ann.unsynced, 3);
      const again = ann.authentications;
      await renew(ann, room, relay.token(room, { sub: 'ann' }));
      await ann.until('the new token', () => again < ann.authentications);
      assert.equal(ann.provider.authorizedScope, 'read-write');
      ann.type('four');
      await converge([ann, ben], ({ text }) => text.toString() === 'content. one two three four');
      await ann.whenSaved();
      // An acknowledgement too many would come before this one.
      ann.type('.');
      await ann.whenSaved();
      await converge([ann, ben]);
      assert.ok(seen.every(count => 0 <= count), `${seen}`);
      assert.equal(ann.unsynced, 0);
    });
  }

  for (const kind of ['hp3', 'hp4']) {
    test(`${kind} whose token had ended brings what it typed, and is brought what it missed`, async t => {
      const room = freshRoom('ended');
      const join = host(t, relay);
      const ben = join('yws3', room, { sub: 'ben' });
      const ann = join(kind, room, { sub: 'ann', claims: { exp: inSeconds(3) } });
      ann.setPresence({ note: 'ann' });
      await ann.whenSaved();
      await ann.until('the end of the token', () => ann.denials.length > 0);
      ann.type('while out. ');
      ben.type('meanwhile. ');
      await renew(ann, room, relay.token(room, { sub: 'ann' }));
      await converge([ann, ben], ({ text }) => text.length === 'while out. meanwhile. '.length);
      await ann.whenSaved();
      assert.equal(ann.unsynced, 0);
      ann.type('in again');
      await ann.whenSaved();
      await converge([ann, ben]);
    });
  }
});

describe('many documents on one socket', { concurrency: 3 }, () => {
  const DOCUMENTS = 1_000;

  for (const kind of COLLAB_KINDS) {
    test(`${kind} opens and closes ${DOCUMENTS}, one after the other`, async t => {
      const join = host(t, relay);
      const socket = collabSocket(t, kind, relay.collab());
      const token = anywhere();
      const stays = join(kind, freshRoom('stays'), { socket, token });
      await stays.whenSaved();
      const room = freshRoom('one-of-many');
      for (let number = 0; number < DOCUMENTS; number += 1) {
        const client = join(kind, `${room}-${number}`, { socket, token: async () => token });
        // Said while the token is fetched, so before it.
        client.setPresence({ note: 'here' });
        await client.until('being let in', () => client.authentications > 0);
        client.close();
      }
      stays.type('still here');
      await stays.whenSaved();
      assert.deepEqual(stays.closes, []);
    });

    test(`${kind} is refused one more than ${DOCUMENTS} at a time, by name`, async t => {
      const join = host(t, relay);
      const socket = collabSocket(t, kind, relay.collab());
      const token = anywhere();
      const first = join(kind, freshRoom('first'), { socket, token });
      await first.whenSaved();
      const room = freshRoom('full');
      for (let number = 1; number < DOCUMENTS; number += 1) {
        socket.send(frame(`${room}-${number}`, AUTH, 0, token));
      }
      const late = join(kind, freshRoom('late'), { socket, token });
      await late.until('the refusal', () => late.denials.length > 0);
      assert.deepEqual(late.denials, ['LIMIT_DOCUMENTS']);
      assert.equal(late.authentications, 0);
      first.type('still here');
      await first.whenSaved();
      assert.deepEqual(first.closes, []);
      late.close();
      socket.send(frame(`${room}-1`, CLOSE));
      const next = join(kind, freshRoom('next'), { socket, token });
      await next.whenSaved();
    });

    test(`${kind} at a full board is told that, and nothing else`, async t => {
      const join = host(t, relay);
      const room = `board/full-${kind}`;
      const ann = join('yws3', room, { sub: 'ann' });
      await ann.whenSynced();
      const ben = join(kind, room, { sub: 'ben' });
      await ben.until('the refusal', () => ben.denials.length > 0);
      assert.deepEqual([ben.denials, ben.authentications], [['BOARD_FULL'], 0]);
      assert.deepEqual(ben.closes, []);
    });
  }
});
