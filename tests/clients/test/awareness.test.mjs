// What everybody sees of somebody whose tab is hidden, and of somebody who shows too much.

import assert from 'node:assert/strict';
import { setTimeout as passing } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';

import { KINDS, host, until } from '../lib/clients.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';

let relay;
before(async () => (relay = await Relay.start()));
after(() => relay.dispose());

/** Clients drop whom they have not heard of for 30 s, and look every 3 s. */
const DROPPED_AFTER_MS = 33_000;

/** Browsers let the timers of a hidden tab run once a minute: here, not at all. Its socket answers. */
const hide = client => clearInterval(client.awareness._checkInterval);

const noteOf = (watcher, client) => watcher.sees(client)?.presence?.note;
const removalsOf = (watcher, id, since) =>
  watcher.changes.filter(({ at, removed }) => at >= since && removed.includes(id)).length;

describe('a hidden tab', { concurrency: true }, () => {
  test('of every kind is seen by every kind, whose own tabs are left alone', async t => {
    const room = freshRoom('hidden');
    const join = host(t, relay);
    const seen = KINDS.map(kind => join(kind, room, { sub: `seen-${kind}` }));
    const hidden = KINDS.map(kind => join(kind, room, { sub: `hidden-${kind}` }));
    const all = [...seen, ...hidden];
    for (const client of all) client.setPresence({ note: client.kind });
    const see = (watcher, client) => noteOf(watcher, client) === client.kind;
    await until(all, 'everybody at everybody', () => all.every(one => all.every(other => see(one, other))));

    hidden.forEach(hide);
    // Until here everybody came, and was nudged to where the relay raised them.
    await passing(1_000);
    const since = performance.now();
    await passing(2 * DROPPED_AFTER_MS);
    for (const watcher of all) {
      for (const client of all) assert.ok(see(watcher, client), `${watcher.kind} lost ${client.kind}`);
    }
    for (const watcher of seen) {
      for (const client of hidden) assert.equal(removalsOf(watcher, client.id, since), 0);
      // A nudge is told to the program as its own removal.
      assert.equal(removalsOf(watcher, watcher.id, since), 0, `${watcher.kind} was nudged`);
    }
    for (const client of hidden) {
      const nudges = removalsOf(client, client.id, since);
      assert.ok(nudges === 3 || nudges === 2, `${client.kind} was nudged ${nudges} times`);
    }
    // They go on from there.
    for (const client of hidden) client.setPresence({ note: `${client.kind} again` });
    const isNew = (watcher, client) => noteOf(watcher, client) === `${client.kind} again`;
    await until(all, 'what is new', () => seen.every(one => hidden.every(other => isNew(one, other))), 1_000);
    assert.ok(all.every(({ closes }) => closes.length === 0));
  });
});

describe('a picture of 70 KB in an awareness state', { concurrency: true }, () => {
  for (const kind of KINDS) {
    test(`${kind}: costs nobody anything`, async t => {
      const room = freshRoom('large-state');
      const join = host(t, relay);
      const [ann, ...watchers] = [kind, 'yws3', 'hp4'].map((one, number) => join(one, room, { sub: `user-${number}` }));
      ann.setPresence({ note: 'small' });
      await until(watchers, 'ann', () => watchers.every(watcher => noteOf(watcher, ann) === 'small'));

      ann.setPresence({ note: 'large', avatar: 'x'.repeat(70_000) });
      ann.type('still here');
      await until(watchers, 'what she types', () => watchers.every(({ text }) => String(text) === 'still here'));
      assert.ok(watchers.every(watcher => noteOf(watcher, ann) === 'small'));
      ann.setPresence({ note: 'small again' });
      await until(watchers, 'ann', () => watchers.every(watcher => noteOf(watcher, ann) === 'small again'));
      assert.deepEqual([ann.closes, ann.stopped, ann.denials], [[], [], []]);
      if (ann.unsynced !== undefined) await ann.whenSaved();
    });
  }
});
