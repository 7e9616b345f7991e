// Event rooms: presence by heartbeats, typing, last seen, and the overview of all rooms.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { suite } from './support/suite.mjs';

const world = suite();

const roomOf = (page, id) => page.locator(`[data-room=${id}]`);
const message = page => page.getByRole('textbox', { name: 'Message' });

test('rooms show who is in them, and who is typing, without oneself', async () => {
  const room = world.freshRoom();
  const jim = await world.open('events', { as: 'jim', room });
  await jim.locator('.chat').getByText('1 person online').waitFor();
  const caleb = await world.open('events', { as: 'caleb', room });
  await jim.locator('.chat').getByText('2 people online').waitFor();
  await roomOf(jim, 'main').getByRole('button', { name: '2 people online' }).waitFor();
  await message(caleb).pressSequentially('The caterer');
  await jim.getByText('Caleb Ortiz is typing…').waitFor();
  assert.equal(await caleb.locator('.presence-typing').textContent(), '');
  await message(caleb).press('Enter');
  await jim.locator('.messages').getByText('The caterer').waitFor();
  await jim.getByText('Caleb Ortiz is typing…').waitFor({ state: 'detached' });
  // And typing that is not sent ends by itself.
  await message(caleb).pressSequentially('is');
  await jim.getByText('Caleb Ortiz is typing…').waitFor();
  await jim.getByText('Caleb Ortiz is typing…').waitFor({ state: 'detached' });
});

test('the overview follows somebody from room to room, and says when they were last seen', async () => {
  const room = world.freshRoom();
  const jim = await world.open('events', { as: 'jim', room });
  const caleb = await world.open('events', { as: 'caleb', room });
  await jim.getByText('2 people in its rooms').waitFor();
  await caleb.getByRole('button', { name: 'Catering' }).click();
  await roomOf(jim, 'catering').getByRole('button', { name: '1 person online' }).waitFor();
  await jim.locator('.last-seen [data-user=caleb]').getByText('last seen just now').waitFor();
  await jim.getByText('2 people in its rooms').waitFor();
  // Leaving by closing the tab: the beacon says so.
  await caleb.close({ runBeforeUnload: false });
  await roomOf(jim, 'catering').getByText('empty').waitFor();
});

test('a crowd is five faces and how many more, and all of them in the list', async () => {
  const room = world.freshRoom();
  const jim = await world.open('events', { as: 'jim', room });
  const more = jim.getByRole('button', { name: 'Send in one more person' });
  for (let extra = 0; extra < 5; extra += 1) await more.click();
  const pile = jim.locator('.chat .presence-pile');
  await pile.getByText('6 people online').waitFor();
  assert.equal(await pile.locator('.presence-face').count(), 6);
  assert.equal(await pile.locator('.presence-more').textContent(), '+1');
  await pile.getByRole('button').focus();
  assert.equal(await pile.getByRole('tooltip').locator('.presence-tooltip-row').count(), 6);
  await jim.keyboard.press('Escape');
  assert.equal(await pile.getByRole('tooltip').count(), 0);
  await jim.getByRole('button', { name: 'Send all 5 away' }).click();
  await pile.getByText('1 person online').waitFor();
});

test('a network that is cut is noticed after two and a half heartbeats', async () => {
  const room = world.freshRoom();
  const page = await world.open('events', { as: 'jim', with: 'caleb', room });
  const [jim, caleb] = [page.locator('[data-person=jim]'), page.locator('[data-person=caleb]')];
  await jim.locator('.chat').getByText('2 people online').waitFor();
  await caleb.getByRole('switch').click();
  await jim.locator('.chat').getByText('1 person online').waitFor();
  await caleb.getByText('Connection lost. Reconnecting…').waitFor();
  await caleb.getByRole('switch').click();
  await jim.locator('.chat').getByText('2 people online').waitFor();
});
