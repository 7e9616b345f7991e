// The description of the HTTP API against the relay it describes.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv from 'ajv/dist/2020.js';
import * as Y from 'yjs';

import { host } from '../lib/clients.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';
import { EventStream } from '../lib/stream.mjs';
import { sign } from '../lib/token.mjs';

// Small enough to be full, and to be told so.
const folder = mkdtempSync(join(tmpdir(), 'copresence-openapi-'));
const config = join(folder, 'copresence.toml');
writeFileSync(config, '[kind.board]\ncapacity = 1\n');

let relay;
let api;
let ajv;
before(async () => {
  relay = await Relay.start({ dev: true, args: ['--config', config] });
  api = await (await fetch(`${relay.http}/openapi.json`)).json();
  ajv = new Ajv({ strict: false, allErrors: true });
  ajv.addSchema(api, 'api');
});
after(async () => {
  await relay.dispose();
  rmSync(folder, { recursive: true });
});

test('it is OpenAPI 3.1', async () => {
  const { valid, errors } = await new Validator().validate(structuredClone(api));
  assert.ok(valid, JSON.stringify(errors, null, 2));
  assert.match(api.openapi, /^3\.1\./);
});

/** A described response, without references. */
function described(template, method, status) {
  const response = api.paths[template]?.[method]?.responses[status];
  assert.ok(response, `${method} ${template} does not describe a ${status}`);
  return response.$ref ? at(response.$ref) : response;
}

const at = reference => reference.slice(2).split('/').reduce((value, key) => value[key], api);

function check(schema, value, what) {
  // References in it are to the whole description.
  const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"api#/'));
  const validate = ajv.compile(absolute);
  assert.ok(validate(value), `${what}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(value)}`);
}

/** The first thing of a kind in the content: its media type and what is said of it. */
function checkContent(answer, content, what) {
  const type = (answer.headers.get('content-type') ?? '').split(';')[0];
  assert.ok(content[type], `${what}: ${type} is not described`);
  return [type, content[type]];
}

const seen = new Set();

/** Asks, and holds the answer against its description. */
async function ask(method, template, path, status, options = {}) {
  const what = `${method} ${path}`;
  const answer = await relay.fetch(path, { method: method.toUpperCase(), ...options });
  const body = Buffer.from(await answer.arrayBuffer());
  assert.equal(answer.status, status, `${what}: ${body}`);
  seen.add(`${method} ${template} ${status}`);
  const response = described(template, method, status);
  for (const [name, header] of Object.entries(response.headers ?? {})) {
    const value = answer.headers.get(name);
    assert.notEqual(value, null, `${what}: ${name} is missing`);
    const number = header.schema.type === 'integer' ? Number(value) : value;
    check(header.schema, number, `${what}: ${name}`);
  }
  if (!response.content) {
    assert.equal(body.length, 0, `${what}: a body where none is described`);
    return null;
  }
  const [type, { schema }] = checkContent(answer, response.content, what);
  if (!type.endsWith('json')) return body;
  const value = JSON.parse(body);
  check(schema, value, what);
  return value;
}

/** Opens a stream and holds its events against their description, `count` of them. */
async function watch(t, template, path) {
  const probe = await relay.fetch(path, { signal: AbortSignal.timeout(10_000) });
  const response = described(template, 'get', probe.status);
  const [, content] = checkContent(probe, response.content, path);
  await probe.body.cancel();
  seen.add(`get ${template} 200`);
  const stream = await EventStream.open(relay, path);
  t.after(() => stream.close());
  return {
    /** The next event of this name; all before it are described too. */
    async next(event) {
      for (;;) {
        const told = await stream.next(`${event} of ${path}`);
        check(content['x-events'][told.event], told.data, `${told.event} of ${path}`);
        if (told.event === event) return told.data;
      }
    },
    described: Object.keys(content['x-events']),
  };
}

const roomPaths = ['presence', 'presence/stream', 'document'].map(ending => `/v1/rooms/{room}/${ending}`);
const userPaths = ['presence', 'presence/stream'].map(ending => `/v1/users/{user}/${ending}`);
const underPaths = ['/v1/presence', '/v1/presence/stream'];
const json = body => ({ body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });
const tooLarge = { body: JSON.stringify({ filler: 'x'.repeat(70_000) }) };

test('answers of every kind are as described', async t => {
  const room = `event/openapi-${process.pid}/a`;
  const enter = host(t, relay);
  const ann = enter('yws3', room, { sub: 'ann', role: 'host', claims: { picture: 'https://example.org/a.png' } });
  ann.setPresence({ color: '#aa0000' });
  const ben = enter('hp4', room, { sub: 'ben' });
  ben.setPresence({});
  await ann.until('ben', () => ann.sees(ben));

  await t.test('lists', async () => {
    const { participants } = await ask('get', '/v1/rooms/{room}/presence', `/v1/rooms/${room}/presence`, 200);
    assert.equal(participants.length, 2);
    const { rooms } = await ask('get', '/v1/users/{user}/presence', '/v1/users/ann/presence', 200);
    assert.equal(rooms.length, 1);
    const below = await ask('get', '/v1/presence', `/v1/presence?under=event/openapi-${process.pid}`, 200);
    assert.equal(below.totalActiveUsers, 2);
  });

  await t.test('streams', async t => {
    const ofRoom = await watch(t, '/v1/rooms/{room}/presence/stream', `/v1/rooms/${room}/presence/stream`);
    const ofUser = await watch(t, '/v1/users/{user}/presence/stream', '/v1/users/cid/presence/stream');
    const below = await watch(t, '/v1/presence/stream', `/v1/presence/stream?under=${room}`);
    for (const stream of [ofRoom, ofUser, below]) await stream.next('snapshot');
    const cid = enter('hp3', room, { sub: 'cid' });
    assert.equal((await ofRoom.next('joined')).userId, 'cid');
    assert.equal((await ofUser.next('changed')).isConnected, true);
    assert.equal((await below.next('changed')).activeCount, 3);
    cid.setPresence({ color: '#0000aa' });
    assert.equal((await ofRoom.next('changed')).color, '#0000aa');
    cid.close();
    assert.equal((await ofRoom.next('left')).status, 'offline');
    assert.deepEqual(ofRoom.described.sort(), ['changed', 'joined', 'left', 'snapshot']);
  });

  await t.test('documents', async () => {
    const template = '/v1/rooms/{room}/document';
    const path = `/v1/rooms/${freshRoom('document')}/document`;
    const doc = new Y.Doc();
    doc.getText('text').insert(0, 'hello');
    const body = Y.encodeStateAsUpdate(doc);
    await ask('post', template, path, 204, { body });
    await ask('post', template, `${path}?if=empty`, 412, { body });
    await ask('post', template, path, 400, { body: 'no update' });
    await ask('post', template, `${path}?if=new`, 400, { body });
    await ask('get', template, path, 200);
    const reader = relay.token(path.slice('/v1/rooms/'.length, -'/document'.length), { sub: 'ann', access: 'read' });
    await ask('post', template, path, 403, { body, token: reader });
    await ask('post', template, path, 401, { body, token: 'forged' });
  });

  await t.test('presence without a socket', async () => {
    const [beat, leave] = ['heartbeat', 'leave'].map(word => `/v1/presence/${word}`);
    const token = sub => sign(relay.secret, { sub, exp: 2e9, rooms: { '*': { access: 'read' } } });
    const body = (more = {}) => ({ room, sessionId: 'tab', ...more });
    const as = (sub, more) => ({ ...json(body(more)), token: token(sub) });
    const { sessionToken } = await ask('post', beat, beat, 200, as('dan', { data: { status: 'typing', at: 1 } }));
    await ask('post', leave, leave, 204, { ...json({ sessionToken }), token: '' });
    await ask('post', leave, leave, 204, as('dan'));
    // Its answer says that the session has left.
    await ask('post', beat, beat, 200, as('dan'));
    for (const path of [beat, leave]) {
      await ask('post', path, path, 400, as('dan', { room: 'a//b' }));
      await ask('post', path, path, 400, as('dan', { sessionId: '' }));
      await ask('post', path, path, 401, { ...json(body()), token: 'forged' });
      await ask('post', path, path, 403, { ...json(body()), token: sign(relay.secret, { sub: 'eve', exp: 2e9 }) });
      await ask('post', path, path, 413, tooLarge);
    }
    await ask('post', beat, beat, 413, as('dan', { data: { filler: 'x'.repeat(5_000) } }));
    const board = `board/openapi-${process.pid}`;
    await ask('post', beat, beat, 200, as('fay', { room: board }));
    await ask('post', beat, beat, 409, as('gil', { room: board }));
    for (let n = 0; n < 10; n += 1) await ask('post', beat, beat, 200, as('hal'));
    await ask('post', beat, beat, 429, as('hal'));
  });

  await t.test('people', async () => {
    const revoke = '/v1/revocations';
    await ask('post', revoke, revoke, 204, json({ userId: 'mallory', room }));
    await ask('post', revoke, revoke, 400, json({ user: 'mallory' }));
    await ask('post', revoke, revoke, 413, tooLarge);
    await ask('post', revoke, revoke, 401, { ...json({ userId: 'ann' }), token: 'forged' });
    const list = '/v1/users/{user}/follows';
    const one = '/v1/users/{user}/follows/{other}';
    const [ofAnn, toBen] = ['/v1/users/ann/follows', '/v1/users/ann/follows/ben'];
    await ask('put', list, ofAnn, 204, json({ follows: ['cid', 'dan'] }));
    await ask('put', one, toBen, 204);
    await ask('delete', one, '/v1/users/ann/follows/dan', 204);
    assert.deepEqual(await ask('get', list, ofAnn, 200), { follows: ['ben', 'cid'] });
    await ask('put', list, ofAnn, 400, json({ follows: [''] }));
    await ask('put', list, ofAnn, 413, { body: `{"follows":[],"filler":"${'x'.repeat(1 << 20)}"}` });
    const many = Array.from({ length: 10_000 }, (_, n) => `user-${n}`);
    await ask('put', list, '/v1/users/hub/follows', 204, json({ follows: many }));
    await ask('put', one, '/v1/users/hub/follows/ben', 413);
    for (const [method, template, path] of [
      ['get', list, ofAnn],
      ['put', list, ofAnn],
      ['put', one, toBen],
      ['delete', one, toBen],
    ]) {
      const body = method === 'put' ? json({ follows: [] }) : {};
      await ask(method, template, path.replace('ann', '%ff'), 400, body);
      await ask(method, template, path, 401, { ...body, token: 'forged' });
      await ask(method, template, path, 403, { ...body, token: relay.token(room, { sub: 'eve' }) });
    }
    await ask('post', revoke, revoke, 403, { ...json({ userId: 'ann' }), token: relay.token(room, { sub: 'eve' }) });
  });

  await t.test('operation', async () => {
    await ask('get', '/health/live', '/health/live', 200);
    await ask('get', '/health/ready', '/health/ready', 200);
    await ask('get', '/metrics', '/metrics', 200);
    await ask('get', '/openapi.json', '/openapi.json', 200);
    for (const path of ['/', '/live/app.js', '/live/style.css']) await ask('get', path, path, 200);
    const state = '/live/state';
    await ask('get', state, `${state}?room=${room}&user=ann&find=a`, 200);
    await ask('get', state, `${state}?room=a//b`, 400);
    await ask('get', state, state, 401, { token: 'forged' });
    await ask('get', state, state, 403, { token: relay.token(room, { sub: 'eve' }) });
    const { token } = await ask('post', '/dev/token', '/dev/token', 200, json({ sub: 'ann', exp: 2e9 }));
    assert.equal((await relay.fetch('/v1/users/ann/presence', { token })).status, 200);
    await ask('post', '/dev/token', '/dev/token', 400, json([]));
    await ask('post', '/dev/token', '/dev/token', 413, tooLarge);
  });

  await t.test('refusals', async () => {
    const stranger = sign(relay.secret, { sub: 'eve', exp: 2e9 });
    for (const template of roomPaths) {
      const path = name => template.replace('{room}', name);
      await ask('get', template, path('a//b'), 400);
      await ask('get', template, path(room), 401, { token: 'forged' });
      await ask('get', template, path(room), 403, { token: stranger });
    }
    for (const template of userPaths) {
      const path = name => template.replace('{user}', name);
      await ask('get', template, path('%ff'), 400);
      await ask('get', template, path('ann'), 401, { token: 'forged' });
    }
    for (const path of underPaths) {
      await ask('get', path, path, 400);
      await ask('get', path, `${path}?under=a//b`, 400);
      await ask('get', path, `${path}?under=a`, 401, { token: 'forged' });
    }
    // Pages of other origins.
    const headers = { origin: 'https://evil.example' };
    for (const template of userPaths) await ask('get', template, template.replace('{user}', 'ann'), 403, { headers });
    for (const path of underPaths) await ask('get', path, `${path}?under=a`, 403, { headers });
    await ask('post', '/dev/token', '/dev/token', 403, { headers });
  });
});

test('every answer described was seen', () => {
  // What takes a full disk, hundreds of reads, two documents of the largest size or a user's hundred
  // streams is tested elsewhere.
  const elsewhere = /^post \/v1\/rooms\/\{room\}\/document (413|429)$|^get .* 429$| 503$/;
  const all = Object.entries(api.paths).flatMap(([template, { parameters, ...operations }]) =>
    Object.entries(operations).flatMap(([method, { responses }]) =>
      Object.keys(responses).map(status => `${method} ${template} ${status}`),
    ),
  );
  const missed = all.filter(one => !seen.has(one) && !elsewhere.test(one));
  assert.deepEqual(missed, []);
});
