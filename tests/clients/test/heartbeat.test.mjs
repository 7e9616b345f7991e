// Presence without a socket, as a page has it: fetch, beacons, and EventSource to look on.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { EventSource } from 'eventsource';

import { host, until } from '../lib/clients.mjs';
import { Relay } from '../lib/relay.mjs';
import { sign } from '../lib/token.mjs';

const APP = 'https://app.example';

let relay;
before(async () => (relay = await Relay.start({ args: ['--allow-origin', APP] })));
after(() => relay.dispose());

let rooms = 0;
const freshRoom = () => `event/heartbeat-${process.pid}/${++rooms}`;

/** A page of the application, of somebody who may read everything below a prefix. */
class Page {
  constructor(user, pattern = '*') {
    this.token = sign(relay.secret, { sub: user, exp: 2e9, rooms: { [pattern]: { access: 'read', role: 'guest' } } });
  }

  async beat(room, sessionId, more = {}) {
    const answer = await relay.fetch('/v1/presence/heartbeat', {
      method: 'POST',
      token: this.token,
      headers: { origin: APP, 'content-type': 'application/json' },
      body: JSON.stringify({ room, sessionId, ...more }),
    });
    assert.equal(answer.headers.get('access-control-allow-origin'), APP);
    assert.equal(answer.status, 200, await answer.clone().text());
    return (await answer.json()).sessionToken;
  }

  /** Looks on; a browser's EventSource has no headers, so the token is in the address. */
  watch(t, path) {
    const mark = path.includes('?') ? '&' : '?';
    const source = new EventSource(`${relay.http}${path}${mark}token=${this.token}`);
    t.after(() => source.close());
    const events = [];
    for (const name of ['snapshot', 'joined', 'changed', 'left']) {
      source.addEventListener(name, ({ data, lastEventId }) => {
        assert.equal(lastEventId, '');
        events.push([name, JSON.parse(data)]);
      });
    }
    return {
      source,
      events,
      async next(what) {
        for (const started = Date.now(); events.length === 0; ) {
          assert.ok(Date.now() - started < 10_000, `no sign of ${what}`);
          await new Promise(resolve => setTimeout(resolve, 5));
        }
        return events.shift();
      },
    };
  }
}

/** What `navigator.sendBeacon(url, text)` sends: plain text, no token, and no preflight before it. */
const beacon = (path, text) =>
  fetch(relay.http + path, {
    method: 'POST',
    keepalive: true,
    headers: { 'content-type': 'text/plain;charset=UTF-8', origin: APP },
    body: text,
  });

test('a page that is closed leaves by a beacon', async t => {
  const room = freshRoom();
  const [ann, ben] = [new Page('ann'), new Page('ben')];
  const seen = ben.watch(t, `/v1/rooms/${room}/presence/stream`);
  assert.deepEqual((await seen.next('the snapshot'))[1], { room, participants: [] });
  const sessionToken = await ann.beat(room, 'tab-1', { interval: 30_000, data: { page: '/booths' } });
  const [kind, joined] = await seen.next('ann');
  assert.deepEqual([kind, joined.userId, joined.isConnected], ['joined', 'ann', true]);
  assert.equal((await beacon('/v1/presence/leave', JSON.stringify({ sessionToken }))).status, 204);
  let left;
  do [left, joined.now] = await seen.next('the end');
  while (left === 'changed');
  assert.deepEqual([left, joined.now.userId, joined.now.isConnected], ['left', 'ann', false]);
  // A beacon may come twice.
  assert.equal((await beacon('/v1/presence/leave', JSON.stringify({ sessionToken }))).status, 204);
});

test('a preflight lets heartbeats of the application through and of nobody else', async () => {
  const preflight = origin =>
    fetch(`${relay.http}/v1/presence/heartbeat`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });
  const allowed = await preflight(APP);
  assert.equal(allowed.status, 204);
  assert.equal(allowed.headers.get('access-control-allow-origin'), APP);
  assert.match(allowed.headers.get('access-control-allow-methods'), /POST/);
  assert.match(allowed.headers.get('access-control-allow-headers'), /authorization/);
  assert.equal((await preflight('https://evil.example')).status, 403);
});

test('editors and people without sockets are one list', async t => {
  const room = freshRoom();
  const join = host(t, relay);
  const ann = join('hp4', room, { sub: 'ann', role: 'host' });
  ann.setPresence({});
  const ben = new Page('ben');
  await ben.beat(room, 'tab', { data: { status: 'idle' } });
  await until([ann], 'both', () => true);
  const users = async () => {
    const { participants } = await relay.json(`/v1/rooms/${room}/presence`);
    return Object.fromEntries(participants.filter(one => one.isConnected).map(one => [one.userId, one.status]));
  };
  let there;
  do there = await users();
  while (Object.keys(there).length < 2);
  assert.deepEqual(there, { ann: 'online', ben: 'idle' });
});

test('a dashboard follows who is typing where', async t => {
  const prefix = freshRoom();
  const watching = new Page('host', `${prefix}/*`).watch(t, `/v1/presence/stream?under=${prefix}`);
  assert.deepEqual((await watching.next('the snapshot'))[1], { under: prefix, rooms: [], totalActiveUsers: 0 });
  const ann = new Page('ann');
  await ann.beat(`${prefix}/a`, 'tab', { data: { status: 'typing' } });
  for (;;) {
    const [kind, entry] = await watching.next('ann typing');
    assert.deepEqual([kind, entry.room, entry.activeCount], ['changed', `${prefix}/a`, 1]);
    if (entry.activeUsers[0].status === 'typing') break;
  }
  // Nobody says so: it ends by itself, after 5 s.
  const [kind, entry] = await watching.next('the end of typing');
  assert.deepEqual([kind, entry.activeUsers[0].status], ['changed', 'online']);
});

test('an EventSource that lost its stream begins with a snapshot again', async t => {
  const room = freshRoom();
  const amy = new Page('amy');
  await amy.beat(room, 'tab');
  const short = new Page('short');
  short.token = sign(relay.secret, { sub: 'short', exp: Math.floor(Date.now() / 1000) + 2, rooms: { '*': {} } });
  const { source, next } = short.watch(t, `/v1/users/amy/presence/stream`);
  assert.equal((await next('the snapshot'))[0], 'snapshot');
  // At the token's end so does the stream; coming back with it is refused, for good.
  const failed = await new Promise(resolve => {
    source.addEventListener('error', event => source.readyState === EventSource.CLOSED && resolve(event));
  });
  assert.equal(failed.code, 401);
  const again = amy.watch(t, `/v1/users/amy/presence/stream`);
  const [kind, snapshot] = await again.next('the snapshot');
  assert.deepEqual([kind, snapshot.rooms.map(entry => entry.room)], ['snapshot', [room]]);
});
