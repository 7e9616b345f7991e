// Who may enter, what they are told when they may not, and what happens when that changes.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { COLLAB_KINDS, KINDS, SYNC_KINDS, collabSocket, converge, host, until } from '../lib/clients.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';
import { inSeconds, tokenFor } from '../lib/token.mjs';

let relay;
before(async () => (relay = await Relay.start()));
after(() => relay.dispose());

const isCollab = kind => COLLAB_KINDS.includes(kind);

/** Waits until the client itself reports that it was refused, and checks what it reports. */
async function refused(client, code, reason) {
  if (isCollab(client.kind)) {
    await client.until('authenticationFailed', () => client.denials.length > 0);
    assert.equal(client.denials[0], reason);
    assert.deepEqual(client.closes, [], 'a refusal concerns a document, not the socket');
  } else if (client.kind === 'yws3') {
    await client.until('closed', () => client.stopped.length > 0);
    assert.deepEqual(client.stopped, [{ code, reason }]);
  } else {
    await client.until('connection-close', () => client.closes.length > 0);
    assert.deepEqual(client.closes[0], { code, reason });
  }
  assert.equal(client.isSynced, false);
  assert.equal(client.text.toString(), '', 'a refused client learned something of the room');
  assert.equal(client.states.size, 1, 'a refused client learned who is there');
}

const BAD_TOKENS = [
  ['no token', 4401, 'UNAUTHORIZED', () => null],
  ['garbage for a token', 4401, 'UNAUTHORIZED', () => 'not.a.token'],
  ['a token signed by somebody else', 4401, 'UNAUTHORIZED', room => tokenFor('x'.repeat(64), room, { sub: 'ann' })],
  ['a token without an end', 4401, 'UNAUTHORIZED', room => relay.token(room, { sub: 'ann', exp: undefined })],
  ['a token that has expired', 4401, 'TOKEN_EXPIRED', room => relay.token(room, { sub: 'ann', exp: inSeconds(-10) })],
  ['a token for another room', 4403, 'FORBIDDEN', () => relay.token(freshRoom('other'), { sub: 'ann' })],
  ['a token for no room', 4403, 'FORBIDDEN', room => relay.token(room, { sub: 'ann', rooms: undefined })],
];

describe('a bad token is reported by the client’s own callbacks', { concurrency: 4 }, () => {
  for (const [what, code, reason, token] of BAD_TOKENS) {
    for (const kind of KINDS) {
      test(`${kind} with ${what}: ${reason}`, async t => {
        const room = freshRoom('refused');
        const join = host(t, relay);
        const resident = join('yws3', room, { sub: 'resident' });
        resident.setPresence({ role: 'coach' });
        resident.type('secret');
        await resident.whenSynced();
        await refused(join(kind, room, { token: token(room) }), code, reason);
      });
    }
  }

  // Whose clock is a little ahead signs tokens that begin in a moment. y-websocket 3 would never ask again.
  for (const kind of KINDS) {
    test(`${kind} with a token that begins in three seconds is let in`, async t => {
      const room = freshRoom('early');
      const token = relay.token(room, { sub: 'ann', nbf: inSeconds(3) });
      const early = host(t, relay)(kind, room, { token });
      await early.whenSynced();
    });
  }

  test('a room that does not exist is refused as one that does', async t => {
    const token = relay.token(freshRoom('mine'), { sub: 'ann' });
    for (const kind of KINDS) {
      await refused(host(t, relay)(kind, freshRoom('nowhere'), { token }), 4403, 'FORBIDDEN');
    }
  });

  for (const kind of COLLAB_KINDS) {
    test(`${kind}: after a refusal, a good token on the same socket is let in`, async t => {
      const room = freshRoom('second-try');
      const join = host(t, relay);
      const socket = collabSocket(t, kind, relay.collab());
      const wrong = join(kind, room, { socket, token: 'wrong' });
      await refused(wrong, 4401, 'UNAUTHORIZED');
      wrong.close();
      const right = join(kind, room, { socket, sub: 'ann' });
      right.type('in');
      await right.whenSaved({ wasOffline: true });
    });
  }
});

describe('a token in the query opens /collab too', { concurrency: 3 }, () => {
  for (const kind of COLLAB_KINDS) {
    test(`${kind} without a token of its own`, async t => {
      const room = freshRoom('query');
      const token = relay.token(room, { sub: 'ann', role: 'coach' });
      const socket = collabSocket(t, kind, `${relay.collab()}?token=${token}`);
      const join = host(t, relay);
      const ann = join(kind, room, { socket, token: null });
      const bob = join('yws2', room, { sub: 'bob' });
      ann.setPresence({ role: 'whatever' });
      await ann.whenSynced();
      ann.type('hello');
      await converge([ann, bob], ({ text }) => text.toString() === 'hello');
      await bob.until('who ann is', () => bob.sees(ann)?.presence.userId === 'ann');
      assert.equal(bob.sees(ann).presence.role, 'coach');
      await ann.whenSaved();
    });
  }
});

describe('a token ends while connected', { concurrency: 4 }, () => {
  const SECONDS = 4;

  for (const kind of SYNC_KINDS) {
    test(`${kind} is closed with 4401 TOKEN_EXPIRED`, async t => {
      const room = freshRoom('expiry');
      const join = host(t, relay);
      const ann = join(kind, room, { sub: 'ann', claims: { exp: inSeconds(SECONDS) } });
      const bob = join('hp4', room, { sub: 'bob' });
      ann.setPresence({ role: 'coach' });
      await bob.until('ann', () => bob.sees(ann));
      await ann.until('the end of the token', () => ann.closes.length > 0);
      assert.deepEqual(ann.closes[0], { code: 4401, reason: 'TOKEN_EXPIRED' });
      if (kind === 'yws3') assert.equal(ann.stopped.length, 1);
      await bob.until('ann gone', () => !bob.sees(ann));
    });
  }

  for (const kind of COLLAB_KINDS) {
    test(`${kind} that cannot renew is told authenticationFailed, and keeps its socket`, async t => {
      const room = freshRoom('expiry');
      const join = host(t, relay);
      const token = relay.token(room, { sub: 'ann', exp: inSeconds(SECONDS) });
      const ann = join(kind, room, { token });
      const bob = join('yws3', room, { sub: 'bob' });
      ann.setPresence({ role: 'coach' });
      await bob.until('ann', () => bob.sees(ann));
      await ann.until('the end of the token', () => ann.denials.length > 0);
      assert.equal(ann.denials[0], 'TOKEN_EXPIRED');
      assert.deepEqual(ann.closes, []);
      await bob.until('ann gone', () => !bob.sees(ann));
    });
  }

  for (const kind of ['hp3', 'hp4']) {
    test(`${kind} answers the request for a new token and stays, with the new token’s role`, async t => {
      const room = freshRoom('renewal');
      const join = host(t, relay);
      const exp = inSeconds(SECONDS);
      let asked = 0;
      const ann = join(kind, room, {
        token: () => {
          asked += 1;
          const claims = asked === 1 ? { exp, role: 'coachee' } : { role: 'coach' };
          return relay.token(room, { sub: 'ann', ...claims });
        },
      });
      ann.setPresence({ role: 'from the client' });
      // Ends with ann's first token, and so shows that it has ended.
      const clock = join('yws3', room, { sub: 'clock', claims: { exp } });
      const bob = join('yws2', room, { sub: 'bob' });
      await bob.until('ann in her new role', () => bob.sees(ann)?.presence.role === 'coach');

      await clock.until('the end of the first token', () => clock.stopped.length > 0);
      ann.type('still here');
      await converge([ann, bob], ({ text }) => text.toString() === 'still here');
      await ann.whenSaved();
      assert.equal(asked, 2, 'asked once, and no more');
      assert.deepEqual([ann.denials, ann.closes], [[], []]);
      assert.ok(bob.sees(ann));
    });
  }
});

describe('read access: receives everything, is seen, changes nothing', { concurrency: 4 }, () => {
  for (const kind of KINDS) {
    test(kind, async t => {
      const room = freshRoom('readonly');
      const join = host(t, relay);
      const writer = join('yws3', room, { sub: 'writer' });
      const other = join('hp4', room, { sub: 'other' });
      writer.type('content. ');
      await converge([writer, other], ({ text }) => text.length > 0);

      const reader = join(kind, room, { sub: 'reader', access: 'read' });
      await converge([writer, reader]);
      if (isCollab(kind)) {
        await reader.whenSaved();
        assert.equal(reader.provider.authorizedScope, 'readonly');
      }

      reader.text.insert(0, 'scribble. ');
      // Sent after the edit: whoever sees it has been spared the edit.
      reader.setPresence({ note: 'look' });
      await until([writer, other], 'the reader', () => writer.sees(reader) && other.sees(reader));
      assert.deepEqual([writer, other].map(({ text }) => text.toString()), ['content. ', 'content. ']);

      writer.type('more. ');
      await reader.until('what the writer adds', () => reader.text.toString().endsWith('more. '));
      assert.ok(reader.text.toString().startsWith('scribble. '));
      assert.deepEqual(reader.closes, []);
      if (isCollab(kind)) assert.equal(reader.unsynced, 1, 'an edit that was not applied counts as saved');
    });
  }

  test('TipTap’s readonlyDocumentNames', async t => {
    const room = freshRoom('tiptap-readonly');
    const claims = { rooms: undefined, readonlyDocumentNames: [room] };
    const reader = host(t, relay)('hp2', room, { sub: 'reader', claims });
    await reader.whenSaved();
    assert.equal(reader.provider.authorizedScope, 'readonly');
  });
});

describe('a revocation ends what the token began', { concurrency: 2 }, () => {
  test('all of the user’s connections within a second, and nobody else’s', async t => {
    const room = freshRoom('revoked');
    const join = host(t, relay);
    const sub = 'revoked-everywhere';
    const token = relay.token(room, { sub });
    const theirs = KINDS.map(kind => join(kind, room, { token }));
    const bob = join('hp4', room, { sub: 'bob' });
    for (const client of theirs) client.setPresence({ role: 'coach' });
    await bob.until('all of them', () => theirs.every(client => bob.sees(client)));

    const started = performance.now();
    await revoke({ userId: sub });
    const told = client => (isCollab(client.kind) ? client.denials[0] : client.closes[0]?.reason);
    const ended = await until(theirs, 'the end of all', () => theirs.every(told), 5_000);
    assert.ok(ended - started <= 1_000, `took ${ended - started} ms`);
    assert.deepEqual(theirs.map(told), KINDS.map(() => 'REVOKED'));
    await bob.until('all of them gone', () => theirs.every(client => !bob.sees(client)));
    assert.deepEqual([bob.closes, bob.denials], [[], []]);

    for (const kind of KINDS) await refused(join(kind, room, { token }), 4401, 'REVOKED');
  });

  test('in one room only, if one is named', async t => {
    const [revoked, kept] = [freshRoom('revoked'), freshRoom('kept')];
    const join = host(t, relay);
    const sub = 'revoked-in-one-room';
    const rooms = { [revoked]: { access: 'write' }, [kept]: { access: 'write' } };
    const token = relay.token(revoked, { sub, rooms });
    const socket = collabSocket(t, 'hp4', relay.collab());
    const [out, inside] = [revoked, kept].map(room => join('hp4', room, { socket, token }));
    await Promise.all([out.whenSaved(), inside.whenSaved()]);
    await revoke({ userId: sub, room: revoked });
    await out.until('the end of the one', () => out.denials[0] === 'REVOKED');
    inside.type('still in');
    await inside.whenSaved();
    assert.deepEqual([inside.denials, inside.closes], [[], []]);
  });

  test('in all rooms of a pattern', async t => {
    const [revoked, kept] = [freshRoom('revoked'), freshRoom('kept')];
    const join = host(t, relay);
    const sub = 'revoked-by-pattern';
    const rooms = { [revoked]: { access: 'write' }, [kept]: { access: 'write' } };
    const token = relay.token(revoked, { sub, rooms });
    const theirs = KINDS.map(kind => join(kind, revoked, { token }));
    const inside = join('hp4', kept, { token });
    await inside.whenSaved();
    await until(theirs, 'everybody', () => theirs.every(client => client.isSynced));
    await revoke({ userId: sub, room: `${revoked.slice(0, -1)}*` });
    const told = client => (isCollab(client.kind) ? client.denials[0] : client.closes[0]?.reason);
    await until(theirs, 'the end of all', () => theirs.every(told));
    assert.deepEqual(theirs.map(told), KINDS.map(() => 'REVOKED'));
    inside.type('still in');
    await inside.whenSaved();
    assert.deepEqual([inside.denials, inside.closes], [[], []]);
  });

  // Tokens have whole seconds: a program that signs its user in again at once has one that cannot be told from those
  // that are refused. Clients that are refused give up for good.
  for (const kind of KINDS) {
    test(`${kind} with a new token of the very second is in when that is over`, async t => {
      const room = freshRoom('very-second');
      const join = host(t, relay);
      for (let round = 1; ; round++) {
        assert.ok(round <= 10, 'no round within one second on this machine');
        const sub = `signed-in-again-${kind}-${round}`;
        const token = () => relay.token(room, { sub, iat: inSeconds(0) });
        await sleep(1_000 - (Date.now() % 1_000) + 20);
        const second = inSeconds(0);
        await revoke({ userId: sub });
        let asked = 0;
        const fresh = () => {
          asked += 1;
          return token();
        };
        const client = join(kind, room, { token: isCollab(kind) ? fresh : fresh() });
        if (!isCollab(kind)) {
          // Its program does that when it is sent away.
          client.provider.on('connection-close', () => (client.provider.params.token = fresh()));
        }
        await client.whenSynced();
        client.type(`${round}`);
        if (isCollab(kind)) await client.whenSaved({ wasOffline: true });
        assert.deepEqual([client.denials, client.stopped], [[], []]);
        if (asked === 1) continue; // The second was over before.
        assert.ok(inSeconds(0) > second);
        assert.deepEqual(
          client.closes,
          kind === 'hp4' ? [] : client.closes.map(() => ({ code: 1013, reason: 'TRY_AGAIN' })),
        );
        // It does not knock without end: providers of version 2 come back without a pause.
        assert.ok(client.closes.length <= (isCollab(kind) ? 1 : 5), `${client.closes.length} times`);
        return;
      }
    });

    test(`${kind} with the same token of that second is refused when it is over`, async t => {
      const room = freshRoom('very-second');
      const sub = `stubborn-${kind}`;
      const iat = inSeconds(0);
      await revoke({ userId: sub });
      if (inSeconds(0) > iat) return; // What was meant is over.
      const client = host(t, relay)(kind, room, { token: relay.token(room, { sub, iat }) });
      const told = () =>
        isCollab(kind) ? client.denials[0] : client.closes.find(({ code }) => code === 4401)?.reason;
      await client.until('the refusal', told);
      assert.equal(told(), 'REVOKED');
      assert.equal(client.isSynced, false);
    });
  }

  async function revoke(what) {
    const headers = { 'content-type': 'application/json' };
    const options = { method: 'POST', headers, body: JSON.stringify(what) };
    const answer = await relay.fetch('/v1/revocations', options);
    assert.ok(answer.ok, `${answer.status}`);
  }
});

describe('--dev lets guests in', () => {
  let dev;
  before(async () => (dev = await Relay.start({ dev: true })));
  after(() => dev.dispose());

  test('all kinds without a token edit together and are seen as they say', async t => {
    const room = freshRoom('guests');
    const join = host(t, dev);
    const guests = KINDS.map(kind => join(kind, room, { token: null }));
    for (const guest of guests) {
      guest.setPresence({ name: guest.kind, role: 'guest' });
      guest.type(guest.kind);
    }
    await converge(guests, ({ text }) => text.length === KINDS.join('').length);
    await until(guests, 'each other', () =>
      guests.every(one => guests.every(other => one.sees(other)?.presence.name === other.kind)),
    );
  });

  test('a wrong token is still refused', async t => {
    for (const kind of KINDS) {
      await refused(host(t, dev)(kind, freshRoom('dev'), { token: 'wrong' }), 4401, 'UNAUTHORIZED');
    }
  });

  for (const kind of COLLAB_KINDS) {
    test(`${kind}: what follows a wrong token does not enter as a guest`, async t => {
      const join = host(t, dev);
      const socket = collabSocket(t, kind, dev.collab());
      const wrong = join(kind, freshRoom('dev'), { socket, token: 'wrong' });
      await wrong.until('the refusal', () => wrong.denials.length > 0);
      // When this one is in, whatever the other sent has been handled.
      await join(kind, freshRoom('dev'), { socket, token: null }).whenSynced();
      assert.deepEqual([wrong.denials, wrong.authentications], [['UNAUTHORIZED'], 0]);
      assert.equal(wrong.isSynced, false);
    });
  }
});
