// A client that comes back with its old id is visible to all at once, and sees all at once.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { KINDS, host, until } from '../lib/clients.mjs';
import { Proxy } from '../lib/proxy.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';

let relay;
before(async () => (relay = await Relay.start()));
after(() => relay.dispose());

/** From being in sync again to being seen; the clients' own renewal would take up to 15 s. */
const AT_ONCE_MS = 1_000;

/** A room with one client of each kind, each of which sees all. */
async function fullHouse(t, { proxied = {} } = {}) {
  const room = freshRoom('return');
  const join = host(t, relay);
  const all = KINDS.map(kind => join(kind, room, { sub: kind, port: proxied[kind] }));
  for (const client of all) client.setPresence({ note: `${client.kind} is here` });
  await everybodySeesEverybody(all, 15_000);
  return all;
}

function everybodySeesEverybody(all, ms) {
  const seen = (one, other) =>
    one === other || one.sees(other)?.presence.note === other.awareness.getLocalState().presence.note;
  return until(all, 'everybody at everybody', () => all.every(one => all.every(other => seen(one, other))), ms);
}

/** Does what costs these clients their links, and waits until each has noticed. */
function losing(clients, act) {
  const before = clients.map(({ closes }) => closes.length);
  act();
  return until(clients, 'lost links', () =>
    clients.every(({ closes }, n) => closes.length > before[n]),
  );
}

const sawLeave = (watcher, leaver, since) =>
  watcher.changes.some(({ at, removed }) => at >= since && removed.includes(leaver.id));

/** Who was seen leaving although they did not: `[watcher, whom]`. A client's own id does not count. */
function wronglyRemoved(all, leaver, since) {
  return all
    .filter(watcher => watcher !== leaver)
    .flatMap(watcher =>
      watcher.changes
        .filter(({ at }) => at >= since)
        .flatMap(({ removed }) => removed)
        .filter(id => id !== watcher.id && id !== leaver.id)
        .map(id => [watcher.kind, all.find(client => client.id === id)?.kind]),
    );
}

describe('every kind comes back to a room of all kinds', { concurrency: 3 }, () => {
  for (const kind of KINDS) {
    for (const [how, changes] of [['as it was', false], ['with news', true]]) {
      test(`${kind} after a lost connection, ${how}`, async t => {
        const all = await fullHouse(t);
        const returning = all.find(client => client.kind === kind);
        const others = all.filter(client => client !== returning);
        const [id, since] = [returning.id, performance.now()];
        for (let round = 0; round < 3; round += 1) {
          const dropped = performance.now();
          await losing([returning], () => returning.drop({ reset: round === 1 }));
          if (changes) returning.setPresence({ note: `news ${round}` });
          await returning.whenSynced();
          await until(others, 'the leaving', () => others.every(other => sawLeave(other, returning, dropped)));
          await everybodySeesEverybody(all, AT_ONCE_MS);
        }
        assert.equal(returning.id, id);
        assert.deepEqual(wronglyRemoved(all, returning, since), []);
      });
    }
  }
});

describe('harder returns', { concurrency: 3 }, () => {
  test('all at once', async t => {
    const all = await fullHouse(t);
    await losing(all, () => all.forEach(client => client.drop()));
    await Promise.all(all.map(client => client.whenSynced()));
    await everybodySeesEverybody(all, AT_ONCE_MS);
  });

  test('hidden while away, shown again later', async t => {
    for (const kind of KINDS) {
      const all = await fullHouse(t);
      const returning = all.find(client => client.kind === kind);
      const others = all.filter(client => client !== returning);
      await losing([returning], () => returning.drop());
      returning.awareness.setLocalState(null);
      await returning.whenSynced();
      await returning.until('the others', () => others.every(other => returning.sees(other)), AT_ONCE_MS);
      assert.ok(others.every(other => !other.sees(returning)));
      returning.setPresence({ note: 'here again' });
      await everybodySeesEverybody(all, AT_ONCE_MS);
      for (const client of all) client.close();
    }
  });

  test('over a half-open link: the old connection is still there when the new one comes', async t => {
    for (const kind of KINDS) {
      const proxy = await Proxy.start(() => relay.port);
      t.after(() => proxy.dispose());
      const all = await fullHouse(t, { proxied: { [kind]: proxy.port } });
      const returning = all.find(client => client.kind === kind);
      const since = performance.now();
      // The relay hears nothing of this end of the link.
      proxy.isSilent = true;
      await losing([returning], () => returning.drop());
      proxy.isSilent = false;
      returning.setPresence({ note: 'by another way' });
      await returning.whenSynced();
      await everybodySeesEverybody(all, AT_ONCE_MS);
      await losing([returning], () => proxy.reset());
      await returning.whenSynced();
      await everybodySeesEverybody(all, AT_ONCE_MS);
      assert.deepEqual(wronglyRemoved(all, returning, since), []);
      for (const client of all) client.close();
    }
  });

  test('on a slow line, with changes on the way', async t => {
    const proxy = await Proxy.start(() => relay.port);
    t.after(() => proxy.dispose());
    const all = await fullHouse(t, { proxied: { yws3: proxy.port, hp4: proxy.port } });
    proxy.delayMs = 150;
    const slow = all.filter(({ kind }) => kind === 'yws3' || kind === 'hp4');
    await losing(slow, () => slow.forEach(client => client.drop()));
    for (const client of all) client.setPresence({ note: 'meanwhile' });
    await Promise.all(slow.map(client => client.whenSynced()));
    for (const client of all) client.setPresence({ note: 'right then' });
    await everybodySeesEverybody(all, AT_ONCE_MS + 2 * 150);
  });
});
