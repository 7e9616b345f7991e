// Clients that do not know that a refusal is for good, and come back at once: y-websocket 2 and 3.0.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { converge, host } from '../lib/clients.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';
import { inSeconds } from '../lib/token.mjs';

let relay;
before(async () => (relay = await Relay.start()));
after(() => relay.dispose());

const REFUSED = [
  ['an expired token', 'TOKEN_EXPIRED', room => relay.token(room, { sub: 'ann', exp: inSeconds(-10) })],
  ['a token for another room', 'FORBIDDEN', () => relay.token(freshRoom('other'), { sub: 'ann' })],
];

describe('who is refused for good waits longer each time', { concurrency: 4 }, () => {
  for (const kind of ['yws2', 'yws30']) {
    for (const [what, reason, token] of REFUSED) {
      test(`${kind} with ${what}`, async t => {
        const room = freshRoom('knocking');
        const join = host(t, relay);
        const ann = join(kind, room, { token: token(room) });
        const closedAt = [];
        ann.provider.on('connection-close', event => event && closedAt.push(performance.now()));
        await ann.until('four refusals', () => ann.closes.length >= 4);
        assert.deepEqual(new Set(ann.closes.map(close => close.reason)), new Set([reason]));
        // At once, then 1, 2 and 4 s: a client of its own accord waits a tenth of a second at first.
        for (const [index, least] of [1_000, 2_000, 4_000].entries()) {
          const waited = closedAt[index + 1] - closedAt[index];
          assert.ok(least <= waited, `${waited} ms before refusal ${index + 2}`);
        }
        // A good token opens the door at once, whoever else waits behind it.
        const [bob, carol] = [join(kind, room, { sub: 'ann' }), join('hp4', room, { sub: 'carol' })];
        bob.type('in');
        await converge([bob, carol], ({ text }) => text.toString() === 'in');
        assert.equal(ann.isSynced, false);
      });
    }
  }
});
