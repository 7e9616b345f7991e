// Who is there: appearing, leaving in every way, several tabs, refreshes, forgeries.
//
// These tests run one after the other, since some of them measure.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { KINDS, PAIRS, host, until } from '../lib/clients.mjs';
import { Person } from '../lib/person.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';
import { presenceStream } from '../lib/stream.mjs';

let relay;
before(async () => (relay = await Relay.start()));
after(() => relay.dispose());

const COACH = { role: 'coach', isConnected: true };
const COACHEE = { role: 'coachee', isConnected: true };

for (const [one, other] of PAIRS) {
  test(`${one} and ${other} see each other, and each change`, async t => {
    const room = freshRoom('see');
    const join = host(t, relay);
    const ann = join(one, room, { sub: 'ann', role: 'coach' });
    const bob = join(other, room, { sub: 'bob', role: 'coachee' });
    ann.setPresence(COACH, { color: '#aa0000' });
    bob.setPresence(COACHEE, { color: '#00bb00' });
    await until([ann, bob], 'each other', () => ann.sees(bob)?.presence && bob.sees(ann)?.presence);
    assert.equal(bob.sees(ann).presence.role, 'coach');
    assert.equal(bob.sees(ann).user.color, '#aa0000');
    assert.equal(ann.sees(bob).presence.role, 'coachee');

    for (let n = 1; n <= 20; n += 1) ann.awareness.setLocalStateField('cursor', { anchor: n });
    await bob.until('the last cursor', () => bob.sees(ann).cursor?.anchor === 20);

    ann.awareness.setLocalState(null);
    await bob.until('ann hiding', () => !bob.sees(ann));
    ann.setPresence(COACH);
    await bob.until('ann showing again', () => bob.sees(ann)?.presence.userId === 'ann');
  });
}

test('a newcomer is shown everybody at once, whoever came when', async t => {
  const room = freshRoom('newcomer');
  const join = host(t, relay);
  const present = [];
  for (const kind of KINDS) {
    const client = join(kind, room, { sub: kind });
    client.setPresence({ note: kind });
    await until([client, ...present], 'everybody at everybody', () =>
      [client, ...present].every(({ states }) => states.size === present.length + 1),
    );
    present.push(client);
  }
  for (const kind of KINDS) {
    const shy = join(kind, room, { sub: `shy-${kind}` });
    shy.awareness.setLocalState(null);
    await shy.until('everybody, without showing itself', () => present.every(other => shy.sees(other)));
  }
});

describe('gone within 100 ms', () => {
  const WAYS = [
    ['a clean close', client => client.close()],
    ['a lost connection (FIN)', client => client.drop()],
    ['a TCP reset', client => client.drop({ reset: true })],
  ];
  /** The machine runs other tests meanwhile: the middle of five must keep the promise. */
  const TRIES = 5;

  for (const [way, leave] of WAYS) {
    for (const kind of KINDS) {
      test(`${kind} after ${way}`, async t => {
        await measured(async room => {
          const client = host(t, relay)(kind, room, { sub: 'ann' });
          client.setPresence(COACH);
          return { id: client.id, leave: () => (leave(client), client.close()) };
        }, t);
      });
    }
  }

  for (const kind of KINDS) {
    test(`${kind} after its process was killed`, async t => {
      await measured(async room => {
        const person = await Person.start(t, relay, kind, room, { sub: 'ann', presence: COACH });
        return { id: person.id, leave: () => person.kill() };
      }, t);
    });
  }

  async function measured(arrive, t) {
    const join = host(t, relay);
    const room = freshRoom('gone');
    const watchers = ['yws3', 'hp4'].map(kind => join(kind, room, { sub: `watcher-${kind}` }));
    const sees = id => watchers.every(({ states }) => states.has(id));
    const seesNot = id => !watchers.some(({ states }) => states.has(id));
    const times = [];
    for (let n = 0; n < TRIES; n += 1) {
      const { id, leave } = await arrive(room);
      await until(watchers, 'the newcomer', () => sees(id));
      const started = performance.now();
      leave();
      times.push((await until(watchers, 'the leaving', () => seesNot(id))) - started);
    }
    const sorted = times.toSorted((a, b) => a - b);
    const message = `took ${times.map(Math.round)} ms`;
    assert.ok(sorted[Math.floor(TRIES / 2)] <= 100, message);
    assert.ok(sorted.at(-1) <= 1_000, message);
  }
});

test('five tabs are one participant, and closing four is silent', async t => {
  const room = freshRoom('tabs');
  const join = host(t, relay);
  const stream = await presenceStream(relay, room);
  t.after(() => stream.close());
  assert.deepEqual((await stream.next('the snapshot')).data.participants, []);

  const bob = join('hp4', room, { sub: 'bob', role: 'coachee' });
  const tabs = KINDS.map(kind => join(kind, room, { sub: 'ann', role: 'coach' }));
  for (const tab of tabs) tab.setPresence({ role: 'coach', color: '#aa0000' });
  await bob.until('all tabs', () => tabs.every(tab => bob.sees(tab)));

  for (const tab of tabs.slice(1)) tab.close();
  await bob.until('one tab', () => tabs.slice(1).every(tab => !bob.sees(tab)));
  // Bob's arrival comes after whatever the four would have caused.
  bob.setPresence(COACHEE);
  const events = await stream.upTo('bob', ({ data }) => data.userId === 'bob');
  assert.deepEqual(
    events.map(({ event, data }) => [event, data.userId]),
    [['joined', 'ann'], ['joined', 'bob']],
  );

  tabs[0].drop({ reset: true });
  tabs[0].close();
  const left = await stream.next('the end of the last tab');
  assert.deepEqual([left.event, left.data.userId, left.data.isConnected], ['left', 'ann', false]);
});

describe('a refresh is a removal and an arrival, in order, never a ghost', () => {
  for (const kind of KINDS) {
    test(kind, async t => {
      const room = freshRoom('refresh');
      const join = host(t, relay);
      const stream = await presenceStream(relay, room);
      t.after(() => stream.close());
      await stream.next('the snapshot');
      const watchers = KINDS.map(other => join(other, room, { sub: `watcher-${other}` }));
      await Promise.all(watchers.map(watcher => watcher.whenSynced()));

      const pages = [];
      for (let n = 0; n < 8; n += 1) {
        pages.at(-1)?.drop();
        pages.at(-1)?.close();
        const page = join(kind, room, { sub: 'ann' });
        page.setPresence(COACH);
        pages.push(page);
        await until(watchers, 'the new page', () => watchers.every(watcher => watcher.sees(page)));
        const ghosts = watchers.flatMap(({ states }) =>
          pages.slice(0, -1).filter(({ id }) => states.has(id)),
        );
        assert.equal(ghosts.length, 0, `a ghost after refresh ${n}`);
      }

      const last = pages.at(-1);
      last.close();
      const events = (await stream.upTo('the end', () => --left === 0)).map(({ event }) => event);
      assert.deepEqual(events, pages.flatMap(() => ['joined', 'left']));
    });
    let left = 16;
  }
});

describe('a forged identity shows as the true one', () => {
  for (const kind of KINDS) {
    test(kind, async t => {
      const room = freshRoom('forged');
      const join = host(t, relay);
      const watchers = KINDS.map(other => join(other, room, { sub: `watcher-${other}` }));
      const mallory = join(kind, room, { sub: 'mallory', role: 'coachee' });
      mallory.setPresence(
        { userId: 'boss', name: 'The Boss', role: 'coach', color: '#0000ff' },
        { name: 'The Boss', color: '#0000ff' },
      );
      await until(watchers, 'mallory', () => watchers.every(watcher => watcher.sees(mallory)));
      for (const watcher of watchers) {
        const { presence, user } = watcher.sees(mallory);
        assert.deepEqual(
          [presence.userId, presence.name, presence.role, user.name],
          ['mallory', 'Mallory', 'coachee', 'Mallory'],
        );
        assert.deepEqual([presence.color, user.color], ['#0000ff', '#0000ff']);
      }
      const { participants } = await relay.json(`/v1/rooms/${room}/presence`);
      assert.deepEqual(
        participants.map(({ userId, role }) => [userId, role]),
        [['mallory', 'coachee']],
      );
    });
  }

  test('without a role in the token there is none', async t => {
    const room = freshRoom('no-role');
    const join = host(t, relay);
    const [ann, bob] = [join('hp3', room, { sub: 'ann' }), join('yws2', room, { sub: 'bob' })];
    ann.setPresence({ role: 'coach' });
    await bob.until('ann', () => bob.sees(ann));
    assert.ok(!('role' in bob.sees(ann).presence));
  });
});
