// The relay stops, by force or in order, and comes back; clients go on as if nothing had been.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { KINDS, converge, host, until } from '../lib/clients.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';

describe('the relay', { concurrency: 2 }, () => {
  test('killed and started again: edits made meanwhile arrive, and everybody is seen', async t => {
    const relay = await Relay.start();
    t.after(() => relay.dispose());
    const room = freshRoom('restart');
    const join = host(t, relay);
    const all = KINDS.map(kind => join(kind, room, { sub: kind }));
    for (const client of all) {
      client.setPresence({ note: client.kind });
      client.type(`${client.kind} before. `);
    }
    await converge(all, ({ text }) => KINDS.every(kind => text.toString().includes(`${kind} before. `)));

    await relay.kill();
    await until(all, 'the loss', () => all.every(client => !client.isSynced));
    for (const client of all) client.type(`${client.kind} meanwhile. `);
    await relay.run();
    await converge(all, ({ text }) => KINDS.every(kind => text.toString().includes(`${kind} meanwhile. `)), 60_000);
    await Promise.all(all.map(client => client.whenSynced(60_000)));
    await until(all, 'everybody at everybody', () => all.every(({ states }) => states.size === all.length));
    for (const client of all) await client.whenSaved?.({ wasOffline: true });
  });

  test('drained under load: 1012 for all, exit 0, and they continue at its successor', async t => {
    const relay = await Relay.start();
    t.after(() => relay.dispose());
    const room = freshRoom('drain');
    const join = host(t, relay);
    const all = [...KINDS, ...KINDS].map((kind, n) => join(kind, room, { sub: `${kind}-${n}` }));
    await Promise.all(all.map(client => client.whenSynced()));
    const typing = all.map(client => {
      client.typed = 0;
      return setInterval(() => {
        client.type('x');
        client.typed += 1;
      }, 20);
    });
    t.after(() => typing.forEach(clearInterval));
    await all[0].until('the load', () => all[0].text.length > 200);

    const { code, signal } = await relay.terminate();
    assert.deepEqual({ code, signal }, { code: 0, signal: null });
    await until(all, 'the good-bye', () => all.every(({ closes }) => closes.length > 0));
    for (const { kind, closes } of all) {
      assert.deepEqual([kind, closes[0]], [kind, { code: 1012, reason: 'DRAINING' }]);
    }

    await relay.run();
    await Promise.all(all.map(client => client.whenSynced(60_000)));
    typing.forEach(clearInterval);
    const total = () => all.reduce((sum, { typed }) => sum + typed, 0);
    await converge(all, ({ text }) => text.length === total(), 60_000);
  });
});
