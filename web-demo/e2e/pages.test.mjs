// Every page, alone and with two people, light and dark: accessible, and as wide as its window.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';

import { suite } from './support/suite.mjs';

const world = suite();

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa'];

/** What is there once a page has settled. */
const SETTLED = {
  '': '.hero',
  session: '.badge[data-state="on disk"]',
  board: '.presence-bar-people li',
  events: '.chat .presence-face',
  workspace: '.place [data-user], .place .waiting',
  network: '.feed li',
};

/** What makes a page show more of itself. */
const BUSY = {
  session: async page => {
    await page.locator('.prose').first().click();
    await page.keyboard.type('Some text');
    await page.locator('.caret-name').first().waitFor({ state: 'attached' });
  },
  board: async page => {
    await page.getByRole('button', { name: 'Add a note' }).first().click();
    await page.locator('.note').nth(1).waitFor();
    await page.locator('.canvas').first().hover();
    await page.locator('.pointer-name').first().waitFor();
  },
  events: async page => {
    for (let extra = 0; extra < 6; extra += 1) {
      await page.getByRole('button', { name: 'Send in one' }).first().click();
    }
    await page.locator('.chat .presence-more').first().waitFor();
    await page.locator('.chat .presence-pile-button').first().focus();
    await page.getByRole('tooltip').waitFor();
  },
  workspace: async page => {
    await page.getByRole('button', { name: /^Follow / }).first().click();
    await page.locator('.following').waitFor();
  },
  network: async page => {
    await page.getByLabel('Status').first().selectOption('Invisible');
  },
};

async function violations(page) {
  // As a debugger would: the page's own policy allows no foreign scripts.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(
    tags => window.axe.run(document, { runOnly: { type: 'tag', values: tags } }),
    WCAG,
  );
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => `${node.html} ${node.failureSummary}`).join('\n')}`);
}

async function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
}

for (const name of Object.keys(SETTLED)) {
  test(`${name || 'the first page'} has no violations of WCAG 2.2 AA, and fits`, async () => {
    const query = name === '' ? {} : { as: 'jim', with: 'caleb', room: world.freshRoom() };
    const page = await world.open(name, query, { colorScheme: 'light' });
    await page.locator(SETTLED[name]).first().waitFor();
    await BUSY[name]?.(page);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      assert.deepEqual(await violations(page), [], colorScheme);
    }
    await page.setViewportSize({ width: 390, height: 844 });
    assert.ok((await overflow(page)) <= 0, 'wider than 390 px');
    assert.deepEqual(await violations(page), [], 'narrow');
    if (name === '') return;
    // Cut off: the states that nobody looks at.
    await page.getByRole('switch').first().click();
    await page.locator('.pane-cut').waitFor();
    assert.deepEqual(await violations(page), [], 'cut off');
    assert.ok((await overflow(page)) <= 0, 'wider than 390 px when cut off');
  });
}

test('pages are reached by keyboard, and named', async () => {
  const page = await world.open('', {});
  await page.keyboard.press('Tab');
  await page.getByRole('link', { name: 'Skip to the page' }).and(page.locator(':focus')).waitFor();
  await page.getByRole('link', { name: 'Workspace' }).first().focus();
  await page.keyboard.press('Enter');
  await page.locator('.workspace').waitFor();
  assert.equal(await page.title(), 'Workspace · copresence');
  await page.goBack();
  await page.locator('.hero').waitFor();
});
