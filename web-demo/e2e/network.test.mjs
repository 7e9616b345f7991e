// The follow feed: what others do, changes gathered, and being invisible.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { eventually, suite } from './support/suite.mjs';

const world = suite();

const row = (page, user) => page.locator(`.feed [data-user=${user}]`);
const withStatus = (page, user, status) =>
  row(page, user).and(page.locator(`[data-status=${status}]`));

test('followers see what somebody does, when they hide, and that they were just seen', async () => {
  const jim = await world.open('network', { as: 'jim' });
  await withStatus(jim, 'caleb', 'Offline').waitFor();
  const caleb = await world.open('network', { as: 'caleb' });
  await withStatus(jim, 'caleb', 'Online').waitFor();
  await caleb.getByLabel('Activity').selectOption('Debugging');
  await caleb.getByLabel('Language').selectOption('Rust');
  await caleb.getByLabel('Project').fill('relay');
  await row(jim, 'caleb').getByText('Debugging on relay in Rust').waitFor();
  await caleb.getByLabel('Status').selectOption('Invisible');
  await withStatus(jim, 'caleb', 'Offline').waitFor();
  await row(jim, 'caleb').getByText('last seen just now').waitFor();
  // The one who hides goes on seeing the others.
  await withStatus(caleb, 'jim', 'Online').waitFor();
  await caleb.getByLabel('Status').selectOption('Online');
  await withStatus(jim, 'caleb', 'Online').waitFor();
});

test('a short break of the network is not seen by followers', async () => {
  const page = await world.open('network', { as: 'mei', with: 'noor' });
  const [mei, noor] = [page.locator('[data-person=mei]'), page.locator('[data-person=noor]')];
  await mei.locator('[data-user=noor][data-status=Online]').waitFor();
  await page.evaluate(() => {
    window.seen = [];
    new MutationObserver(records => {
      for (const { target } of records) {
        if (target.dataset?.user === 'noor') window.seen.push(target.dataset.status);
      }
    }).observe(document.querySelector('[data-person=mei]'), {
      subtree: true,
      attributeFilter: ['data-status'],
    });
  });
  await noor.getByRole('switch').click();
  await noor.getByRole('switch').click();
  // Back: what is said now arrives.
  await eventually('noor is back', async () => {
    await noor.getByLabel('Activity').selectOption('Idle');
    await noor.getByLabel('Activity').selectOption('Reading');
    return mei.locator('[data-user=noor]').getByText('Reading').isVisible();
  });
  assert.deepEqual(await page.evaluate(() => window.seen), []);
});
