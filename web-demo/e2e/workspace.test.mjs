// The workspace: who is where, and follow mode.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { suite } from './support/suite.mjs';

const world = suite();

const place = (page, path) => page.locator(`[data-path="${path}"]`);

test('everybody is shown at the place where they are', async () => {
  const room = world.freshRoom();
  const jim = await world.open('workspace', { as: 'jim', room });
  await jim.getByText('Nobody else is here.').waitFor();
  const caleb = await world.open('workspace', { as: 'caleb', room });
  await jim.locator('[data-user=caleb]').getByText('# general').waitFor();
  await place(caleb, '/documents/handbook').click();
  await jim.locator('[data-user=caleb]').getByText('Handbook').waitFor();
  await place(jim, '/documents/handbook').getByText('Caleb Ortiz here').waitFor();
  await caleb.close();
  await jim.getByText('Nobody else is here.').waitFor();
});

test('following somebody moves you with them, until you go your own way', async () => {
  const room = world.freshRoom();
  const jim = await world.open('workspace', { as: 'jim', room });
  const caleb = await world.open('workspace', { as: 'caleb', room });
  await place(caleb, '/diagrams/architecture').click();
  await jim.getByRole('button', { name: 'Follow Caleb Ortiz' }).click();
  await jim.getByRole('heading', { name: 'Architecture' }).waitFor();
  await place(caleb, '/projects/launch').click();
  await jim.getByRole('heading', { name: 'Launch' }).waitFor();
  // Whom we follow sees us come along.
  await caleb.locator('[data-user=jim]').getByText('Launch').waitFor();
  await place(jim, '/channels/design').click();
  await caleb.locator('[data-user=jim]').getByText('# design').waitFor();
  await place(caleb, '/documents/roadmap').click();
  await jim.locator('[data-user=caleb]').getByText('Roadmap').waitFor();
  assert.equal(await jim.getByRole('heading', { level: 1 }).textContent(), '# design');
});

test('a network that is cut takes somebody out at once, and puts them back', async () => {
  const room = world.freshRoom();
  const page = await world.open('workspace', { as: 'jim', with: 'caleb', room });
  const [jim, caleb] = [page.locator('[data-person=jim]'), page.locator('[data-person=caleb]')];
  await jim.locator('[data-user=caleb]').waitFor();
  await place(caleb, '/projects/launch').click();
  await caleb.getByRole('switch').click();
  await jim.getByText('Nobody else is here.').waitFor();
  await caleb.getByRole('switch').click();
  await jim.locator('[data-user=caleb]').getByText('Launch').waitFor();
});
