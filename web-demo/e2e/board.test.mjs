// The board: the bar, status, notes over the board's own socket, and the queue of a full one.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { eventually, suite } from './support/suite.mjs';

/** Two fit: the third waits. And idleness comes quickly. */
const world = suite({
  config: '[kind.board]\ncapacity = 2\nidle_after_ms = 2000\naway_after_ms = 4000\n',
});

const bar = pane => pane.locator('.presence-bar');
const personIn = (pane, name) => bar(pane).locator('li', { hasText: name });

test('the bar shows who is there and what they do', async () => {
  const room = world.freshRoom();
  const jim = await world.open('board', { as: 'jim', room });
  await personIn(jim, 'Jim Hanson (you)').waitFor();
  const caleb = await world.open('board', { as: 'caleb', room });
  await personIn(jim, 'Caleb Ortiz').waitFor();
  await bar(jim).getByText('2 people on this board').waitFor();
  await caleb.getByLabel('Your status').selectOption('away');
  await personIn(jim, 'Caleb Ortiz').and(jim.locator('[data-status=away]')).waitFor();
  await caleb.locator('.canvas').hover();
  await personIn(jim, 'Caleb Ortiz').and(jim.locator('[data-status=online]')).waitFor();
  // Nobody does anything any more.
  await personIn(jim, 'Caleb Ortiz').and(jim.locator('[data-status=idle]')).waitFor();
  await caleb.close();
  await bar(jim).getByText('1 person on this board').waitFor();
});

test('a note put on the board by one can be moved by the other', async () => {
  const room = world.freshRoom();
  const jim = await world.open('board', { as: 'jim', room });
  const caleb = await world.open('board', { as: 'caleb', room });
  await jim.getByRole('button', { name: 'Add a note' }).click();
  await jim.locator('.note textarea').fill('Stage plan');
  await eventually('the note’s text', async () => {
    const notes = caleb.locator('.note textarea');
    return (await notes.count()) === 1 && (await notes.inputValue()) === 'Stage plan';
  });
  const left = page => page.locator('.note').evaluate(note => parseFloat(note.style.insetInlineStart));
  const before = await left(jim);
  await caleb.getByRole('button', { name: /^Move this note/ }).focus();
  await caleb.keyboard.press('ArrowRight');
  await eventually('the note has moved', async () => (await left(jim)) > before);
  await caleb.locator('.canvas').hover({ position: { x: 200, y: 200 } });
  await jim.locator('.pointer-name', { hasText: 'Caleb Ortiz' }).waitFor();
});

test('a full board has a queue, and a place that becomes free goes to its head', async () => {
  const room = world.freshRoom();
  const jim = await world.open('board', { as: 'jim', room });
  const caleb = await world.open('board', { as: 'caleb', room });
  await bar(jim).getByText('2 people on this board').waitFor();
  const ada = await world.open('board', { as: 'ada', room });
  await bar(ada).getByText('The board is full. You are next in the queue.').waitFor();
  const mei = await world.open('board', { as: 'mei', room });
  await bar(mei).getByText('The board is full. You are number 2 in the queue.').waitFor();
  assert.equal(await bar(ada).locator('li').count(), 0, 'who waits sees nobody');
  await caleb.close();
  await personIn(ada, 'Ada Okafor (you)').waitFor();
  await personIn(jim, 'Ada Okafor').waitFor();
  await bar(mei).getByText('You are next in the queue.').waitFor();
  await jim.close();
  await personIn(mei, 'Mei Lin (you)').waitFor();
});

test('people can be sent in, and one window fills the board', async () => {
  const room = world.freshRoom();
  const page = await world.open('board', { as: 'jim', room });
  await page.getByRole('button', { name: 'Send in one more person' }).click();
  await personIn(page, 'Ben Adler').waitFor();
  await page.getByRole('button', { name: 'Open Caleb Ortiz beside' }).click();
  const caleb = page.locator('[data-person=caleb]');
  await bar(caleb).getByText('You are next in the queue.').waitFor();
  await page.getByRole('button', { name: 'Send that one away' }).click();
  await personIn(caleb, 'Caleb Ortiz (you)').waitFor();
});

test('somebody whose network is cut stays on the board, and comes back as the same', async () => {
  const room = world.freshRoom();
  const page = await world.open('board', { as: 'jim', with: 'caleb', room });
  const [jim, caleb] = [page.locator('[data-person=jim]'), page.locator('[data-person=caleb]')];
  await personIn(jim, 'Caleb Ortiz').waitFor();
  await caleb.getByRole('switch').click();
  await bar(caleb).getByText('Connection lost. Reconnecting…').waitFor();
  await personIn(jim, 'Caleb Ortiz').and(page.locator('[data-status=away]')).waitFor();
  await caleb.getByRole('switch').click();
  await personIn(caleb, 'Jim Hanson').waitFor();
  await bar(jim).getByText('2 people on this board').waitFor();
});
