// The Hocuspocus clients' count of unsaved changes, and their stateless messages.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { COLLAB_KINDS, converge, host, until } from '../lib/clients.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';

let relay;
before(async () => (relay = await Relay.start()));
after(() => relay.dispose());

describe('unsynced changes reach zero', { concurrency: 3 }, () => {
  for (const kind of COLLAB_KINDS) {
    test(`${kind} after bursts, its own and others’`, async t => {
      const room = freshRoom('burst');
      const join = host(t, relay);
      const ann = join(kind, room, { sub: 'ann' });
      const others = COLLAB_KINDS.map(other => join(other, room, { sub: other }));
      await Promise.all([ann, ...others].map(client => client.whenSaved()));
      for (let burst = 0; burst < 3; burst += 1) {
        for (let n = 0; n < 200; n += 1) for (const client of [ann, ...others]) client.type('x');
        await Promise.all([ann, ...others].map(client => client.whenSaved()));
      }
      await converge([ann, ...others], ({ text }) => text.length === 3 * 200 * 4);
      // A surplus acknowledgement would show here: hp2 counts below zero.
      assert.equal(ann.unsynced, 0);
    });

    test(`${kind} before anything was typed, and after forceSync`, async t => {
      const ann = host(t, relay)(kind, freshRoom('force'), { sub: 'ann' });
      await ann.whenSaved();
      ann.provider.forceSync();
      assert.equal(ann.unsynced, 1);
      await ann.whenSaved();
    });

    test(`${kind} with edits that are there already, or change nothing`, async t => {
      const ann = host(t, relay)(kind, freshRoom('nothing'), { sub: 'ann' });
      ann.type('before it was open');
      await ann.whenSaved({ wasOffline: true });
      ann.doc.transact(() => {
        ann.type('gone again');
        ann.text.delete(ann.text.length - 10, 10);
      });
      await ann.whenSaved({ wasOffline: true });
    });

    test(`${kind} after edits made offline`, async t => {
      const room = freshRoom('offline');
      const join = host(t, relay);
      const [ann, bob] = [join(kind, room, { sub: 'ann' }), join('yws3', room, { sub: 'bob' })];
      await ann.whenSaved();
      await ann.disconnect();
      for (let n = 0; n < 50; n += 1) ann.type('x');
      ann.reconnect();
      await converge([ann, bob], ({ text }) => text.length === 50);
      await ann.whenSaved({ wasOffline: true });
    });
  }

  test('hp4 that gathers its changes (flushDelay)', async t => {
    const room = freshRoom('flush');
    const join = host(t, relay);
    const ann = join('hp4', room, { sub: 'ann', flushDelay: 50 });
    const bob = join('hp2', room, { sub: 'bob' });
    for (let n = 0; n < 100; n += 1) ann.type('x');
    await converge([ann, bob], ({ text }) => text.length === 100);
    await ann.whenSaved();
  });
});

describe('stateless messages', { concurrency: 3 }, () => {
  for (const kind of COLLAB_KINDS) {
    test(`${kind} sends one: the other Hocuspocus clients of the document get it, once`, async t => {
      const [room, elsewhere] = [freshRoom('stateless'), freshRoom('elsewhere')];
      const join = host(t, relay);
      const sender = join(kind, room, { sub: 'sender', access: 'read' });
      const receivers = COLLAB_KINDS.map(other => join(other, room, { sub: other }));
      const stranger = join('hp4', elsewhere, { sub: 'stranger' });
      const plain = join('yws3', room, { sub: 'plain' });
      const all = [sender, ...receivers, stranger];
      await Promise.all(all.map(client => client.whenSaved()));
      await plain.whenSynced();

      const note = JSON.stringify({ action: 'version.create', name: 'Grüße 👋' });
      sender.provider.sendStateless(note);
      await until(receivers, 'the message', () => receivers.every(({ messages }) => messages.length));
      // What comes back from the first receiver comes after whatever else was on its way.
      receivers[0].provider.sendStateless('answer');
      const others = [sender, ...receivers.slice(1)];
      await until(others, 'the answer', () =>
        others.every(({ messages }) => messages.at(-1) === 'answer'),
      );
      assert.deepEqual(sender.messages, ['answer']);
      assert.deepEqual(receivers[0].messages, [note]);
      for (const { messages } of receivers.slice(1)) assert.deepEqual(messages, [note, 'answer']);
      assert.deepEqual(stranger.messages, []);
      plain.type('nothing happened to me');
      await converge([plain, ...receivers], ({ text }) => text.length > 0);
    });
  }
});
