// The operator's live page, built into the relay: in a real Chromium, with a real relay.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, afterEach, before, test } from 'node:test';

import { Relay } from '../../tests/clients/lib/relay.mjs';
import { inSeconds, serviceToken, sign } from '../../tests/clients/lib/token.mjs';
import { Browser } from './support/browser.mjs';

const require = createRequire(import.meta.url);
const axe = require('axe-core').source;
/** What Chromium says by itself of an answer that is an error, or of none. */
const REFUSED = /Failed to load resource/;

let relay;
let browser;
const contexts = [];

before(async () => {
  [relay, browser] = await Promise.all([Relay.start(), Browser.start()]);
});
afterEach(async () => {
  await Promise.all(contexts.splice(0).map(context => context.close()));
  assert.deepEqual(browser.takeComplaints(), [], 'a page complained');
});
after(async () => {
  await browser?.close();
  await relay?.dispose();
});

const tokenOf = (sub, name) =>
  sign(relay.secret, {
    sub,
    name,
    iat: inSeconds(0),
    exp: inSeconds(3600),
    rooms: { '*': { role: 'coach', access: 'write' } },
  });

async function open({ of = relay, expected, ...options } = {}) {
  const context = await browser.context(options);
  contexts.push(context);
  return browser.page(context, `http://127.0.0.1:${of.port}/`, { expected });
}

async function give(page, token) {
  await page.getByLabel('Service token').fill(token);
  await page.getByRole('button', { name: 'Show the relay' }).click();
}

async function openBoard(options) {
  const page = await open(options);
  await give(page, serviceToken(relay.secret));
  await page.getByRole('status').getByText('Live', { exact: true }).waitFor();
  return page;
}

/** Somebody in a room, by a socket of their own on another page. */
async function enter(room, sub, name) {
  const page = await open();
  await page.evaluate(
    ([path, token]) =>
      new Promise((resolve, reject) => {
        window.socket = new WebSocket(`${location.origin.replace('http', 'ws')}${path}?token=${token}`);
        window.socket.onopen = resolve;
        window.socket.onerror = () => reject(new Error('the relay refused a socket'));
      }),
    [`/sync/${room}`, tokenOf(sub, name)],
  );
  return { close: () => page.evaluate(() => window.socket.close()) };
}

async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() =>
    window.axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    }),
  );
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join(' | ')}`);
}

test('it asks for a service token, and shows nothing before and nothing after', async () => {
  await enter('session/hidden', 'ann', 'Ann');
  const page = await open({ expected: REFUSED });
  const alert = page.getByRole('alert');
  await page.getByLabel('Service token').waitFor();
  assert.equal(await page.locator('#board').isVisible(), false);
  assert.equal(await page.locator('.tile').count(), 0);

  await give(page, 'nonsense');
  await alert.getByText('not good').waitFor();
  await give(page, tokenOf('ann', 'Ann'));
  await alert.getByText('no service token').waitFor();
  assert.equal(await page.locator('.tile').count(), 0);

  await give(page, serviceToken(relay.secret));
  await page.getByRole('button', { name: 'session/hidden' }).waitFor();
  await page.reload();
  await page.getByRole('button', { name: 'session/hidden' }).waitFor();
  assert.ok(!page.url().includes('token'));

  await page.getByRole('button', { name: 'Forget token' }).click();
  await page.getByLabel('Service token').waitFor();
  assert.ok(!(await page.content()).includes('session/hidden'));
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test('who comes is there, opens to a connection by keyboard, and goes with a reason', async () => {
  const page = await openBoard();
  const name = '<img src=x onerror="document.title=1">Bob';
  const bob = await enter('session/coming', 'bob', name);
  const rooms = page.getByRole('table', { name: 'Rooms' });
  const room = rooms.getByRole('button', { name: 'session/coming' });
  await room.waitFor();
  const timeline = page.locator('#timeline');
  await timeline.getByText('came').first().waitFor();

  await room.focus();
  await page.keyboard.press('Enter');
  const connection = rooms.locator('.connections li');
  await connection.getByText(name).waitFor();
  await connection.getByText('coach').waitFor();
  await connection.getByText('/sync #').waitFor();
  await connection.getByText('last sign').waitFor();
  assert.equal(await room.getAttribute('aria-expanded'), 'true');
  for (let answers = 0; answers < 2; answers += 1) await page.waitForResponse(/\/live\/state/);
  assert.ok(await room.evaluate(button => button === document.activeElement), 'an update took the focus away');

  const people = page.getByRole('table', { name: 'People' });
  await people.getByRole('button', { name: 'Bob' }).click();
  await people.locator('.connections').getByText('session/coming').waitFor();
  assert.equal(await page.locator('img').count(), 0);

  await page.getByLabel('Find').fill('COMING');
  await page.getByText('Nobody is called that.').waitFor();
  await page.getByLabel('Find').fill('');

  await bob.close();
  await timeline.getByText('left by itself').first().waitFor();
  await page.getByLabel('Show').selectOption('refused');
  await page.getByText('Nothing of that kind lately.').waitFor();
  assert.equal(await page.title(), 'copresence live');
});

test('a relay that is gone is said to be, and a new one is shown', async () => {
  const own = await Relay.start({ dev: true });
  try {
    const page = await open({ of: own, expected: REFUSED });
    await page.getByRole('status').getByText('Live', { exact: true }).waitFor();
    await page.getByText('Nobody is here.').waitFor();
    await own.kill();
    await page.getByText('The relay does not answer').first().waitFor();
    await own.run();
    await page.getByRole('status').getByText('Live', { exact: true }).waitFor();
    await page.locator('#trouble').waitFor({ state: 'hidden' });
  } finally {
    await own.dispose();
  }
});

for (const colorScheme of ['light', 'dark']) {
  test(`nothing violates WCAG 2.2 AA, ${colorScheme}, wide and narrow`, async () => {
    const asking = await open({ colorScheme, expected: REFUSED });
    await give(asking, 'nonsense');
    await asking.getByRole('alert').getByText('not good').waitFor();
    assert.deepEqual(await violations(asking), []);

    const eve = await enter('board/x', 'eve', 'Eve');
    for (const viewport of [{ width: 1280, height: 900 }, { width: 390, height: 844 }]) {
      const page = await openBoard({ colorScheme, viewport });
      await page.getByRole('button', { name: 'board/x' }).click();
      await page.locator('.connections li').getByText('Eve').waitFor();
      assert.deepEqual(await violations(page), []);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `it is ${overflow} px too wide`);
    }
    await eve.close();
  });
}

test('who is not let in is listed, with why and what would help', async () => {
  const page = await openBoard();
  const section = page.getByRole('region', { name: 'Not let in' });
  const origin = 'https://elsewhere.example';
  const headers = { origin };
  for (let times = 0; times < 2; times += 1) {
    const answer = await fetch(`http://127.0.0.1:${relay.port}/v1/presence?under=a`, { headers });
    assert.equal(answer.status, 403);
  }
  const forged = sign('a secret that is another than the one of this relay', { sub: 'eve', exp: inSeconds(60) });
  await fetch(`http://127.0.0.1:${relay.port}/v1/presence?under=a&token=${forged}`);
  const named = section.getByRole('listitem').filter({ hasText: origin });
  await named.getByText('2 times').waitFor();
  await named.getByText('--allow-origin').waitFor();
  const signature = section.getByRole('listitem').filter({ hasText: 'Tokens: signature' });
  await signature.getByText('not by the configured key').waitFor();
  assert.deepEqual(await violations(page), []);
});
