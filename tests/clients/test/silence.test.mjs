// What only time shows: a network that goes silent, and connections on which nobody says anything.

import assert from 'node:assert/strict';
import { setTimeout as passing } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';

import { KINDS, host } from '../lib/clients.mjs';
import { Proxy } from '../lib/proxy.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';
import { presenceStream } from '../lib/stream.mjs';

let relay;
before(async () => (relay = await Relay.start()));
after(() => relay.dispose());

describe('silence', { concurrency: 2 * KINDS.length }, () => {
  for (const kind of KINDS) {
    test(`${kind}: gone within 30 s when the network says nothing, and back when it works again`, async t => {
      const proxy = await Proxy.start(() => relay.port);
      t.after(() => proxy.dispose());
      const room = freshRoom('silent');
      const join = host(t, relay);
      const stream = await presenceStream(relay, room);
      t.after(() => stream.close());
      await stream.next('the snapshot');
      const ann = join(kind, room, { sub: 'ann', port: proxy.port });
      const bob = join(kind, room, { sub: 'bob' });
      ann.setPresence({ role: 'coach' });
      assert.equal((await stream.next('ann')).event, 'joined');
      await bob.until('ann', () => bob.sees(ann));
      // Hocuspocus's provider 2 waits for ever for the first message: it has to have heard some.
      await ann.whenSynced();

      const started = performance.now();
      proxy.isSilent = true;
      const left = await stream.next('the end of ann', 40_000);
      const took = performance.now() - started;
      assert.equal(left.event, 'left');
      assert.ok(took <= 30_000, `took ${took} ms`);
      await bob.until('ann gone', () => !bob.sees(ann), 1_000);

      proxy.isSilent = false;
      assert.equal((await stream.next('ann again', 45_000)).event, 'joined');
      await bob.until('ann again', () => bob.sees(ann), 1_000);
    });

    test(`${kind}: somebody who only reads, without awareness, is not cut off`, async t => {
      const ann = host(t, relay)(kind, freshRoom('quiet'), { sub: 'ann' });
      ann.awareness.setLocalState(null);
      await ann.whenSynced();
      await passing(36_000); // Clients hang up when they have heard nothing for 30 to 33 s.
      assert.deepEqual(ann.closes, []);
      assert.ok(ann.isSynced);
    });
  }
});
