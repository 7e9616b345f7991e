// All clients of a room, by whichever door and of whichever version, reach the same document.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { COLLAB_KINDS, KINDS, PAIRS, collabSocket, converge, host, leaveAfter, tiptapCollab, until } from '../lib/clients.mjs';
import { Relay, freshRoom } from '../lib/relay.mjs';

let relay;
before(async () => (relay = await Relay.start()));
after(() => relay.dispose());

describe('two people write one document', { concurrency: 4 }, () => {
  for (const [one, other] of PAIRS) {
    test(`${one} and ${other}: in turns, at once, and offline`, async t => {
      const room = freshRoom('pair');
      const join = host(t, relay);
      const ann = join(one, room, { sub: 'ann' });
      const bob = join(other, room, { sub: 'bob' });
      await Promise.all([ann.whenSynced(), bob.whenSynced()]);

      ann.type('ann. ');
      await bob.until('what ann wrote', () => bob.text.toString() === 'ann. ');
      bob.type('bob. ');
      await ann.until('what bob wrote', () => ann.text.toString() === 'ann. bob. ');

      for (let round = 0; round < 10; round += 1) {
        ann.text.insert(0, `a${round}`);
        bob.text.insert(0, `b${round}`);
        bob.text.delete(bob.text.length - 1, 1);
      }
      await converge([ann, bob], ({ text }) => /a9/.test(text) && /b9/.test(text));

      await ann.disconnect();
      ann.type('written offline');
      bob.type('meanwhile');
      ann.reconnect();
      await converge(
        [ann, bob],
        ({ text }) => /written offline/.test(text) && /meanwhile/.test(text),
      );
    });
  }
});

describe('one document, many ways in', { concurrency: 3 }, () => {
  test('all kinds at once, and a newcomer reads it all', async t => {
    const room = freshRoom('all');
    const join = host(t, relay);
    const all = [...KINDS, 'yws30'].map(kind => join(kind, room, { sub: kind }));
    await Promise.all(all.map(client => client.whenSynced()));
    for (const client of all) for (let n = 0; n < 20; n += 1) client.type(`${client.kind}-${n} `);
    await converge(all, ({ text }) => all.every(({ kind }) => text.toString().includes(`${kind}-19 `)));

    const late = KINDS.map(kind => join(kind, room, { sub: `late-${kind}` }));
    await converge([...all, ...late], ({ text }) => text.length > 0);
  });

  for (const kind of KINDS) {
    test(`${kind}: a document of megabytes arrives whole, both ways`, async t => {
      const room = freshRoom('large');
      const join = host(t, relay);
      const ann = join(kind, room, { sub: 'ann' });
      await ann.whenSynced();
      const chapter = 'All work and no play. '.repeat(2_000);
      for (let n = 0; n < 60; n += 1) ann.type(chapter);
      const bob = join(kind, room, { sub: 'bob' });
      await converge([ann, bob], ({ text }) => text.length === 60 * chapter.length, 60_000);
    });
  }
});

describe('several documents on one Hocuspocus socket', { concurrency: 3 }, () => {
  for (const kind of COLLAB_KINDS) {
    test(`${kind}: sixteen documents do not mix`, async t => {
      // Enough that they cannot all live on one worker.
      const rooms = Array.from({ length: 16 }, (_, n) => freshRoom(`many-${n}`));
      const join = host(t, relay);
      const socket = collabSocket(t, kind, relay.collab());
      const mine = rooms.map(room => join(kind, room, { sub: 'ann', socket }));
      const theirs = rooms.map((room, n) => join(KINDS[n % KINDS.length], room, { sub: 'bob' }));
      await Promise.all([...mine, ...theirs].map(client => client.whenSynced()));

      mine.forEach((client, n) => client.type(`from ann in ${n}. `));
      theirs.forEach((client, n) => client.type(`from bob in ${n}. `));
      for (const [n, client] of mine.entries()) {
        const parts = [`from ann in ${n}. `, `from bob in ${n}. `];
        await converge(
          [client, theirs[n]],
          ({ text }) =>
            text.length === parts.join('').length &&
            parts.every(part => text.toString().includes(part)),
        );
      }
      await Promise.all(mine.map(client => client.whenSaved()));
    });

    test(`${kind}: a document left is left, the others stay, and it can be entered again`, async t => {
      const [left, kept] = [freshRoom('left'), freshRoom('kept')];
      const join = host(t, relay);
      const socket = collabSocket(t, kind, relay.collab());
      const first = join(kind, left, { sub: 'ann', socket });
      const second = join(kind, kept, { sub: 'ann', socket });
      const [inLeft, inKept] = [left, kept].map(room => join('yws3', room, { sub: 'bob' }));
      for (const client of [first, second]) client.setPresence({ role: 'coach' });
      await until([inLeft, inKept], 'ann in both', () => inLeft.sees(first) && inKept.sees(second));

      first.close();
      await inLeft.until('ann gone from the one', () => !inLeft.sees(first));
      second.type('still here');
      await converge([second, inKept], ({ text }) => text.toString() === 'still here');
      assert.ok(inKept.sees(second), 'leaving one document ended the other');

      const again = join(kind, left, { sub: 'ann', socket });
      again.type('back');
      await converge([again, inLeft], ({ text }) => text.toString() === 'back');
      await again.whenSaved();
    });

    test(`${kind}: a refused document leaves the others of its socket alone`, async t => {
      const room = freshRoom('mine');
      const join = host(t, relay);
      const socket = collabSocket(t, kind, relay.collab());
      const mine = join(kind, room, { sub: 'ann', socket });
      const foreign = join(kind, freshRoom('not-mine'), { socket, token: relay.token(room, { sub: 'ann' }) });
      await foreign.until('the refusal', () => foreign.denials.length > 0);
      mine.type('undisturbed');
      await mine.whenSaved();
      assert.deepEqual(foreign.denials, ['FORBIDDEN'], 'told once, whatever it sent after its token');
      assert.deepEqual(mine.closes, []);
      assert.equal(foreign.text.toString(), '');
    });
  }
});

test('hp4: two providers of one document share a socket (sessionAwareness)', async t => {
  const room = freshRoom('sessions');
  const join = host(t, relay);
  const socket = collabSocket(t, 'hp4', relay.collab());
  const options = { sub: 'ann', socket, sessionAwareness: true };
  const [left, right] = [join('hp4', room, options), join('hp4', room, options)];
  const bob = join('yws3', room, { sub: 'bob' });
  for (const client of [left, right, bob]) client.setPresence({ role: 'coach' });
  await Promise.all([left, right, bob].map(client => client.whenSynced()));

  left.type('left. ');
  await converge([left, right, bob], ({ text }) => text.toString() === 'left. ');
  right.type('right. ');
  await converge([left, right, bob], ({ text }) => text.toString() === 'left. right. ');
  await until([left, right, bob], 'three people seen by each', () =>
    [left, right, bob].every(client => client.states.size === 3),
  );

  left.close();
  await until([right, bob], 'one of them gone', () => !right.sees(left) && !bob.sees(left));
  right.type('alone.');
  await converge([right, bob], ({ text }) => text.toString() === 'left. right. alone.');
  await right.whenSaved();
});

test('hp2: TipTap’s own provider, by its baseUrl', async t => {
  const room = freshRoom('tiptap');
  const ann = leaveAfter(
    t,
    tiptapCollab(relay.collab(), room, { token: relay.token(room, { sub: 'ann' }), user: 'ann' }),
  );
  const bob = host(t, relay)('yws3', room, { sub: 'bob' });
  ann.setPresence({ role: 'coachee' });
  ann.type('from TipTap');
  await converge([ann, bob], ({ text }) => text.toString() === 'from TipTap');
  await bob.until('ann', () => bob.sees(ann)?.presence.userId === 'ann');
  await ann.whenSaved({ wasOffline: true }); // It wrote before its socket was open.
  assert.equal(ann.doc.getMap('__tiptapcollab__users').size, 1);
});

test('hp2: a name as TipTap Collaboration gives it, with TipTap’s claims', async t => {
  const room = `acme.jim-caleb-v0-${process.pid}`;
  const claims = { rooms: undefined, allowedDocumentNames: [room] };
  const token = relay.token(room, { sub: 'jim', ...claims });
  const jim = leaveAfter(t, tiptapCollab(relay.collab(), room, { token }));
  const caleb = host(t, relay)('hp4', room, { sub: 'caleb', claims });
  jim.type('notes');
  await converge([jim, caleb], ({ text }) => text.toString() === 'notes');
});
