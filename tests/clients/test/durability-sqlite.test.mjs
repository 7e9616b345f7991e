// SIGKILL under load, with documents in the embedded store: what was acknowledged is there.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';

import { survivesKills } from '../lib/kills.mjs';

test('no acknowledged update is lost when the relay is killed (SQLite)', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'copresence-kills-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  await survivesKills(t, ['--data', folder]);

  // `check` asks the database itself, too; where its shell is at hand, so do we, without our code.
  const isInstalled = process.env.PATH.split(delimiter).some(path => existsSync(join(path, 'sqlite3')));
  if (!isInstalled) return t.diagnostic('no sqlite3 here: its integrity check was left to `check`');
  const file = join(folder, 'copresence.db');
  const said = execFileSync('sqlite3', [file, 'PRAGMA integrity_check; PRAGMA foreign_key_check;']);
  assert.equal(said.toString().trim(), 'ok');
});
