// SIGKILL under load, with documents in a real Postgres: what was acknowledged is there.

import { test } from 'node:test';

import { survivesKills } from '../lib/kills.mjs';
import { Postgres } from '../lib/postgres.mjs';

test('no acknowledged update is lost when the relay is killed (Postgres)', async t => {
  const server = await Postgres.start();
  t.after(() => server.dispose());
  await survivesKills(t, ['--store', server.url]);
});
