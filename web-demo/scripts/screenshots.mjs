// Pictures of every page, light and dark, wide and narrow: `node scripts/screenshots.mjs FOLDER`.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { Browser } from '../e2e/support/browser.mjs';
import { pageUrl, startDemo } from '../e2e/support/demo.mjs';

const folder = process.argv[2] ?? 'screenshots';
const only = process.argv.slice(3);
mkdirSync(folder, { recursive: true });

const scenes = {
  start: { page: '', act: async () => {} },
  alone: { page: 'session', query: { as: 'caleb' }, act: async page => page.locator('.prose').waitFor() },
  session: {
    page: 'session',
    act: async page => {
      const [coach, coachee] = [page.locator('[data-person=jim]'), page.locator('[data-person=caleb]')];
      const write = coach.locator('.prose');
      await write.click();
      await page.keyboard.type('Goals for the quarter');
      await coach.getByRole('button', { name: 'Heading' }).click();
      await page.keyboard.press('Enter');
      await coach.getByRole('button', { name: 'List' }).click();
      await page.keyboard.type('Say no to the third project');
      await page.keyboard.press('Enter');
      await page.keyboard.type('Ask for feedback before, not after');
      await coachee.locator('.prose li').nth(1).click();
      await page.keyboard.press('Home');
      await coach.locator('.caret').waitFor();
    },
  },
  board: {
    page: 'board',
    act: async page => {
      const pane = page.locator('[data-person=jim]');
      for (const text of ['Invite the vendors', 'Stage plan', 'Who brings cake?']) {
        await pane.getByRole('button', { name: 'Add a note' }).click();
        await pane.locator('.note textarea').last().fill(text);
      }
      await page.locator('[data-person=caleb] .canvas').hover({ position: { x: 220, y: 150 } });
      await pane.getByText('Caleb Ortiz').first().waitFor();
      await pane.getByRole('button', { name: 'Send in one' }).click();
      await page.waitForTimeout(500);
    },
  },
  queue: {
    page: 'board',
    act: async page => {
      const jim = page.locator('[data-person=jim]');
      for (let n = 0; n < 3; n += 1) await jim.getByRole('button', { name: 'Send in one' }).click();
      await page.locator('[data-person=caleb] select').first().selectOption('mei');
      await page.locator('[data-person=mei] [data-phase=queued]').waitFor();
    },
  },
  events: {
    page: 'events',
    act: async page => {
      const pane = page.locator('[data-person=jim]');
      for (let n = 0; n < 7; n += 1) await pane.getByRole('button', { name: 'Send in one' }).click();
      await page.locator('[data-person=caleb] [aria-label=Message]').fill('The caterer is here.');
      await page.keyboard.press('Enter');
      await pane.locator('[aria-label=Message]').fill('Send them to gate 2');
      await page.locator('[data-person=caleb] [aria-label=Message]').pressSequentially('On it');
      await pane.getByText('is typing').waitFor();
      await pane.locator('.chat .presence-pile-button').hover();
    },
  },
  workspace: {
    page: 'workspace',
    act: async page => {
      const jim = page.locator('[data-person=jim]');
      await jim.getByRole('button', { name: 'Follow Caleb Ortiz' }).click();
      await page.locator('[data-person=caleb] [data-path="/documents/roadmap"]').click();
      await jim.getByRole('heading', { name: 'Roadmap' }).waitFor();
    },
  },
  network: {
    page: 'network',
    act: async page => {
      const caleb = page.locator('[data-person=caleb]');
      await caleb.getByLabel('Activity').selectOption('Debugging');
      await caleb.getByLabel('Language').selectOption('Rust');
      await caleb.getByLabel('Project').fill('copresence');
      await page.locator('[data-person=jim] [data-user=caleb]').getByText('Debugging').waitFor();
    },
  },
  cut: {
    page: 'session',
    query: { room: 'cut' },
    act: async page => {
      await page.locator('[data-person=caleb] .switch').click();
      await page.locator('[data-person=jim] .bg-gray-900').waitFor();
      await page.waitForTimeout(3500);
    },
  },
};

const relay = await startDemo({ config: '[kind.board]\ncapacity = 4\n' });
const browser = await Browser.start();
const ROOMS = ['spring', 'summer', 'autumn', 'winter'];
let pictures = 0;
const themes = ['light', 'dark'];
const sizes = { wide: { width: 1280, height: 760 }, narrow: { width: 390, height: 844 } };
try {
  for (const [name, { page: where, query, act }] of Object.entries(scenes)) {
    if (only.length > 0 && !only.includes(name)) continue;
    for (const colorScheme of themes) {
      for (const [size, viewport] of Object.entries(sizes)) {
        const context = await browser.context({ viewport, colorScheme });
        const who = name === 'alone' || name === 'start' ? {} : { as: 'jim', with: 'caleb' };
        // A room of its own for each, with a name that looks like one.
        const room = { room: ROOMS[pictures++ % ROOMS.length] };
        const url = pageUrl(relay, where, { ...who, ...room, ...query });
        const page = await browser.page(context, url);
        try {
          await act(page);
        } catch (error) {
          console.error(`${name} ${colorScheme} ${size}: ${error.message.split('\n')[0]}`);
        }
        await page.screenshot({ path: join(folder, `${name}-${colorScheme}-${size}.png`), fullPage: true });
        await context.close();
      }
    }
  }
} finally {
  for (const complaint of browser.takeComplaints()) console.error(complaint);
  await browser.close();
  await relay.dispose();
}
