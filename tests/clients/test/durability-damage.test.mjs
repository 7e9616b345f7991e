// A damaged document on a socket that carries others: they go on, it says what it is.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { COLLAB_KINDS, collabSocket, host } from '../lib/clients.mjs';
import { BINARY, Relay, freshRoom } from '../lib/relay.mjs';

describe('one document of a socket is damaged', { concurrency: 3 }, () => {
  for (const kind of COLLAB_KINDS) {
    test(`${kind} is denied that one, and edits the others`, async t => {
      const data = mkdtempSync(join(tmpdir(), 'copresence-damage-'));
      t.after(() => rmSync(data, { recursive: true, force: true }));
      const files = ['before', 'copy'].map(name => join(data, name, 'copresence.db'));
      const whole = await Relay.start({ args: ['--store', `sqlite:${files[0]}`] });
      t.after(() => whole.dispose());
      const rooms = ['damaged', 'sound', 'sound-too'].map(freshRoom);
      const sub = 'ann';
      for (const room of rooms) {
        const before = host(t, whole)(kind, room, { sub });
        before.type(`Words of ${room}.`);
        await before.whenSaved({ wasOffline: true });
        before.close();
      }
      await whole.terminate();
      // A copy is one file; what a relay leaves behind may be partly in the log beside it.
      const move = ['copy', '--from', `sqlite:${files[0]}`, '--to', `sqlite:${files[1]}`];
      execFileSync(BINARY, move, { stdio: 'pipe' });
      replaceIn(files[1], `Words of ${rooms[0]}`, `Wards of ${rooms[0]}`);
      const relay = await Relay.start({ args: ['--store', `sqlite:${files[1]}`] });
      t.after(() => relay.dispose());

      const socket = collabSocket(t, kind, relay.collab());
      const [damaged, ...sound] = rooms.map(room => host(t, relay)(kind, room, { sub, socket }));
      await damaged.until('the denial', () => damaged.denials.length > 0);
      assert.deepEqual(damaged.denials, ['STORE_DOWN']);
      for (const client of sound) {
        await client.whenSynced();
        client.type(' More.');
        await client.whenSaved();
        assert.match(client.text.toString(), /^Words of .+\. More\.$/);
        assert.deepEqual(client.closes, []);
      }
    });
  }
});

/** Overwrites bytes where they are; what stands beside them does not know. */
function replaceIn(file, text, other) {
  const bytes = readFileSync(file);
  assert.equal(Buffer.byteLength(text), Buffer.byteLength(other));
  const at = bytes.indexOf(text);
  assert.ok(at > 0, `${text} is not in the file`);
  bytes.write(other, at);
  writeFileSync(file, bytes);
}
