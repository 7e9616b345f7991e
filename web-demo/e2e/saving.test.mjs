// "On disk" is true: the relay is killed at that moment, and has the text when it is back.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

import { suite } from './support/suite.mjs';

const world = suite({
  args: ['--data', './kept'],
  // A write beyond the limit below is an error then, as on a full disk, and not the end.
  under: ['sh', '-c', 'trap "" XFSZ; exec "$0" "$@"'],
});

/** No file of the relay's may grow beyond so many bytes. */
function limitFiles(bytes) {
  const { pid } = world.relay;
  // The soft limit alone: it can be raised again.
  execFileSync('prlimit', ['--pid', String(pid), `--fsize=${bytes}:`]);
}

test('on disk means that the text survives a SIGKILL', async () => {
  const expected = /WebSocket connection|ERR_CONNECTION|Failed to load resource/;
  const room = world.freshRoom();
  const page = await world.open('session', { as: 'jim', room }, { expected });
  const badge = page.locator('.badge');
  await page.locator('.badge[data-state="on disk"]').waitFor();
  await page.locator('.prose').click();
  await page.evaluate(() => {
    const badge = document.querySelector('.badge');
    window.states = [];
    new MutationObserver(() => window.states.push(badge.dataset.state)).observe(badge, {
      attributeFilter: ['data-state'],
    });
  });
  await page.keyboard.type('kept through the night');
  await page.locator('.badge[data-state="on disk"]').waitFor();
  // The text was on its way before it was on disk.
  assert.equal((await page.evaluate(() => window.states))[0], 'sending');
  await world.relay.kill();
  await page.locator('.badge[data-state=waiting]').waitFor();
  assert.equal(await badge.textContent(), 'Not connected');
  await page.context().close();

  await world.relay.run();
  const reader = await world.open('session', { as: 'caleb', room });
  await reader.locator('.prose').getByText('kept through the night').waitFor();
});

test('what is written while the relay is away is on disk once it is back', async () => {
  const expected = /WebSocket connection|ERR_CONNECTION|Failed to load resource/;
  const room = world.freshRoom();
  const page = await world.open('session', { as: 'jim', room }, { expected });
  await page.locator('.badge[data-state="on disk"]').waitFor();
  await world.relay.kill();
  await page.locator('.badge[data-state=waiting]').waitFor();
  await page.locator('.prose').click();
  await page.keyboard.type('written into nothing');
  assert.equal(await page.locator('.badge').getAttribute('data-state'), 'waiting');
  await world.relay.run();
  await page.locator('.badge[data-state="on disk"]').waitFor();
  const reader = await world.open('session', { as: 'caleb', room });
  await reader.locator('.prose').getByText('written into nothing').waitFor();
});

test('with a full disk an edit is received, and on disk once there is room', async () => {
  const room = world.freshRoom();
  const jim = await world.open('session', { as: 'jim', room });
  const caleb = await world.open('session', { as: 'caleb', room });
  await jim.locator('.badge[data-state="on disk"]').waitFor();
  await caleb.locator('.badge[data-state="on disk"]').waitFor();
  limitFiles(0);
  await jim.locator('.prose').click();
  await jim.keyboard.type('no room for this');
  await jim.locator('.badge[data-state=received]').waitFor();
  await caleb.locator('.prose').getByText('no room for this').waitFor();
  limitFiles('unlimited');
  await jim.locator('.badge[data-state="on disk"]').waitFor();
});
