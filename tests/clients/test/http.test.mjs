// The HTTP API beside live editors: the roster, and the document.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import * as Y from 'yjs';

import { KINDS, converge, host, until } from '../lib/clients.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';
import { presenceStream } from '../lib/stream.mjs';

let relay;
before(async () => (relay = await Relay.start()));
after(() => relay.dispose());

describe('the roster', { concurrency: 3 }, () => {
  test('shows the people of both doors, with the nine fields and nothing more', async t => {
    const room = freshRoom('roster');
    const join = host(t, relay);
    const claims = { color: '#112233', picture: 'https://example.org/a.png', email: 'ann@example.org' };
    const ann = join('hp4', room, { sub: 'ann', role: 'coach', claims });
    const bob = join('yws3', room, { sub: 'bob', role: 'coachee' });
    ann.setPresence({ role: 'coach', isConnected: true });
    bob.setPresence({ role: 'coachee', color: '#445566', isConnected: false, lastSeen: 'never' });
    await until([ann, bob], 'each other', () => ann.sees(bob) && bob.sees(ann));

    const answer = await relay.json(`/v1/rooms/${room}/presence`);
    assert.equal(answer.room, room);
    const entry = user => answer.participants.find(({ userId }) => userId === user);
    assert.equal(answer.participants.length, 2);
    const fields = ['avatar', 'color', 'data', 'isConnected', 'lastSeen', 'name', 'role', 'status', 'userId'];
    for (const participant of answer.participants) {
      assert.deepEqual(Object.keys(participant).sort(), fields);
      assert.equal(participant.isConnected, true);
      assert.match(participant.lastSeen, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    }
    const { name, role, color, avatar } = entry('ann');
    assert.deepEqual([name, role, color, avatar], ['Ann', 'coach', '#112233', claims.picture]);
    assert.deepEqual([entry('bob').role, entry('bob').color, entry('bob').avatar], ['coachee', '#445566', null]);

    bob.close();
    await ann.until('bob gone', () => !ann.sees(bob));
    const later = await relay.json(`/v1/rooms/${room}/presence`);
    assert.deepEqual(
      later.participants.filter(({ isConnected }) => isConnected).map(({ userId }) => userId),
      ['ann'],
    );
  });

  test('streams joined, changed and left in turn', async t => {
    const room = freshRoom('stream');
    const join = host(t, relay);
    const ann = join('hp3', room, { sub: 'ann', role: 'coach' });
    ann.setPresence({ color: '#aa0000' });
    const stream = await presenceStream(relay, room, { token: relay.token(room, { sub: 'bob', access: 'read' }) });
    t.after(() => stream.close());
    const first = await stream.next('the snapshot');
    assert.equal(first.event, 'snapshot');
    // Ann may have arrived on either side of the snapshot.
    if (first.data.participants.length === 0) assert.equal((await stream.next('ann')).event, 'joined');
    ann.setPresence({ color: '#00bb00' });
    const changed = await stream.next('another colour');
    assert.deepEqual([changed.event, changed.data.userId, changed.data.color], ['changed', 'ann', '#00bb00']);
    ann.close();
    const left = await stream.next('the leaving');
    assert.deepEqual([left.event, left.data.userId, left.data.isConnected], ['left', 'ann', false]);
  });

  test('of a user: the rooms they are connected in', async t => {
    const rooms = [freshRoom('one'), freshRoom('two')];
    const join = host(t, relay);
    const sub = `wanderer-${process.pid}`;
    const visits = rooms.map((room, n) => join(KINDS[n], room, { sub }));
    const watchers = rooms.map(room => join('yws3', room, { sub: 'watcher' }));
    for (const visit of visits) visit.setPresence({});
    await until(watchers, 'both visits', () => watchers.every((watcher, n) => watcher.sees(visits[n])));
    const { userId, rooms: found } = await relay.json(`/v1/users/${sub}/presence`);
    assert.equal(userId, sub);
    assert.deepEqual(found.map(({ room }) => room).sort(), rooms.toSorted());
  });

  test('is for those who may read the room', async () => {
    const room = freshRoom('closed');
    const status = async token => (await relay.fetch(`/v1/rooms/${room}/presence`, { token })).status;
    assert.equal(await status(relay.token(room, { sub: 'ann', access: 'read' })), 200);
    assert.equal(await status(relay.token(freshRoom('else'), { sub: 'ann' })), 403);
    assert.equal(await status('wrong'), 401);
  });
});

describe('the document', { concurrency: 3 }, () => {
  test('read over HTTP is what the editors have', async t => {
    const room = freshRoom('get');
    const join = host(t, relay);
    const all = KINDS.map(kind => join(kind, room, { sub: kind }));
    for (const client of all) client.type(`${client.kind}. `);
    await converge(all, ({ text }) => text.length === KINDS.map(kind => `${kind}. `).join('').length);
    const answer = await relay.fetch(`/v1/rooms/${room}/document`);
    assert.equal(answer.status, 200);
    const doc = new Y.Doc();
    Y.applyUpdate(doc, new Uint8Array(await answer.arrayBuffer()));
    assert.equal(doc.getText('text').toString(), all[0].text.toString());
    assert.deepEqual(Y.encodeStateVector(doc).length, Y.encodeStateVector(all[0].doc).length);
  });

  test('written over HTTP is seen live by every kind of editor', async t => {
    const room = freshRoom('post');
    const join = host(t, relay);
    const all = KINDS.map(kind => join(kind, room, { sub: kind }));
    await Promise.all(all.map(client => client.whenSynced()));
    const doc = new Y.Doc();
    doc.getText('text').insert(0, 'from the back end. ');
    const post = (suffix = '') =>
      relay.fetch(`/v1/rooms/${room}/document${suffix}`, {
        method: 'POST',
        headers: { 'content-type': 'application/octet-stream' },
        body: Y.encodeStateAsUpdate(doc),
      });
    assert.equal((await post()).status, 204);
    await converge(all, ({ text }) => text.toString() === 'from the back end. ');
    all[0].type('and from an editor.');
    await converge(all, ({ text }) => text.toString() === 'from the back end. and from an editor.');
    assert.equal((await post('?if=empty')).status, 412);
  });

  test('is not written by readers, nor by people of other rooms', async () => {
    const room = freshRoom('forbidden');
    const options = { method: 'POST', body: Y.encodeStateAsUpdate(new Y.Doc()) };
    const reader = relay.token(room, { sub: 'ann', access: 'read' });
    const stranger = relay.token(freshRoom('elsewhere'), { sub: 'ann' });
    for (const token of [reader, stranger]) {
      const answer = await relay.fetch(`/v1/rooms/${room}/document`, { ...options, token });
      assert.equal(answer.status, 403);
      assert.equal((await answer.json()).code, 'FORBIDDEN');
    }
  });
});
