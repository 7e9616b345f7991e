// The coaching session, as a coach and a coachee see it in browsers of their own.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Proxy } from './support/demo.mjs';
import { suite } from './support/suite.mjs';

const world = suite();

const GREEN = 'rgb(34, 197, 94)';
const BLACK = 'rgb(17, 24, 39)';
/** Far less than a silent network would take; how soon it is, the tests of the relay measure. */
const AT_ONCE_MS = 8_000;

const dotOf = (page, name) => page.locator(`.presence-person[title^="${name}"]`);

async function seesConnected(page, name, timeout) {
  await dotOf(page, name).and(page.locator('[data-connected=true]')).waitFor({ timeout });
}

async function seesGone(page, name, timeout = AT_ONCE_MS) {
  await dotOf(page, name).and(page.locator('[data-connected=false]')).waitFor({ timeout });
}

/** Coach and coachee, in browsers of their own, seeing each other. */
async function together({ coachee = {} } = {}) {
  const room = world.freshRoom();
  const [coach, other] = await Promise.all([
    world.open('session', { as: 'jim', room }),
    world.open('session', { as: 'caleb', room }, coachee),
  ]);
  await seesConnected(coach, 'Caleb Ortiz');
  await seesConnected(other, 'Jim Hanson');
  return { room, coach, coachee: other };
}

test('the title has green and black dots of 8 px, 4 px before the name, the coach first', async () => {
  const room = world.freshRoom();
  const coach = await world.open('session', { as: 'jim', room });
  await seesConnected(coach, 'Jim Hanson');
  const looks = () =>
    coach.locator('.presence-title').evaluate(title => {
      const dots = [...title.querySelectorAll('.presence-dot')];
      return dots.map(dot => {
        const style = getComputedStyle(dot);
        const box = dot.getBoundingClientRect();
        const range = document.createRange();
        range.selectNodeContents(dot.nextSibling);
        return {
          name: dot.nextSibling.textContent,
          size: [box.width, box.height],
          gap: range.getBoundingClientRect().left - box.right,
          color: style.backgroundColor,
          round: style.borderRadius,
          moves: [style.transitionDuration, style.animationName],
        };
      });
    });
  const dot = (name, color) => ({
    name,
    size: [8, 8],
    gap: 4,
    color,
    round: '50%',
    moves: ['0s', 'none'],
  });
  assert.deepEqual(await looks(), [dot('Jim Hanson', GREEN), dot('Caleb Ortiz', BLACK)]);
  await world.open('session', { as: 'caleb', room });
  await seesConnected(coach, 'Caleb Ortiz');
  assert.deepEqual(await looks(), [dot('Jim Hanson', GREEN), dot('Caleb Ortiz', GREEN)]);
});

test('text typed by one appears at the other, with caret and name', async () => {
  const { coach, coachee } = await together();
  await coach.locator('.prose').click();
  await coach.keyboard.type('What went well?');
  await coachee.locator('.prose').getByText('What went well?').waitFor();
  const caret = coachee.locator('.prose .caret');
  assert.equal((await caret.locator('.caret-name').textContent()).trim(), 'Jim Hanson');
  await coachee.locator('.prose p').first().click();
  await coachee.keyboard.press('End');
  await coachee.keyboard.type(' Everything.');
  await coach.locator('.prose').getByText('What went well? Everything.').waitFor();
  await coach.locator('.caret-name').getByText('Caleb Ortiz').waitFor();
});

test('a closed tab turns the dot black at once', async () => {
  const { coach, coachee } = await together();
  await coachee.close();
  await seesGone(coach, 'Caleb Ortiz');
  await coach.locator('[data-user=caleb]').getByText('left just now').waitFor();
});

test('a reload is a leaving and an arrival, and leaves no ghost', async () => {
  const { coach, coachee } = await together();
  // Every state that was ever drawn, in order.
  await coach.evaluate(() => {
    const person = document.querySelector('.presence-person[title^="Caleb"]');
    window.seen = [];
    new MutationObserver(() => window.seen.push(person.dataset.connected)).observe(person, {
      attributeFilter: ['data-connected'],
    });
  });
  await coachee.reload();
  await seesConnected(coachee, 'Jim Hanson');
  await coach.waitForFunction(() => window.seen.length >= 2);
  await seesConnected(coach, 'Caleb Ortiz');
  assert.deepEqual(await coach.evaluate(() => window.seen), ['false', 'true']);
  assert.equal(await coach.locator('[data-user=caleb]').count(), 1);
});

test('a killed tab turns the dot black', async () => {
  const { coach, coachee } = await together();
  const session = await coachee.context().newCDPSession(coachee);
  session.send('Page.crash').catch(() => undefined);
  await seesGone(coach, 'Caleb Ortiz');
});

test('with a second tab somebody stays until the last is closed', async () => {
  const { room, coach, coachee } = await together();
  const second = await world.open('session', { as: 'caleb', room }, { context: coachee.context() });
  await seesConnected(second, 'Jim Hanson');
  await coachee.close();
  await second.locator('.prose').click();
  await second.keyboard.type('still here');
  // When that has arrived, the first tab's end has long been told.
  await coach.locator('.prose').getByText('still here').waitFor();
  await seesConnected(coach, 'Caleb Ortiz');
  await second.close();
  await seesGone(coach, 'Caleb Ortiz');
});

test('a network that is cut and comes back', async t => {
  const proxy = await Proxy.start(() => world.relay.port);
  t.after(() => proxy.dispose());
  const expected = /WebSocket connection|ERR_|Failed to load resource/;
  const { coach, coachee } = await together({ coachee: { port: proxy.port, expected } });
  await coachee.context().setOffline(true);
  proxy.isSilent = true;
  proxy.reset();
  await seesGone(coach, 'Caleb Ortiz');
  // On the other side everybody is black once it is sure that it is no short break.
  await seesGone(coachee, 'Jim Hanson', 10_000);
  await coachee.locator('.badge[data-state=waiting]').waitFor();
  await coachee.locator('.prose').click();
  await coachee.keyboard.type('written without a network');
  proxy.isSilent = false;
  await coachee.context().setOffline(false);
  await seesConnected(coach, 'Caleb Ortiz', 15_000);
  await coach.locator('.prose').getByText('written without a network').waitFor();
  await seesConnected(coachee, 'Jim Hanson');
});

test('a short break of the own network changes nothing on the page', async () => {
  const room = world.freshRoom();
  const page = await world.open('session', { as: 'jim', with: 'caleb', room });
  const [jim, caleb] = [page.locator('[data-person=jim]'), page.locator('[data-person=caleb]')];
  await seesConnected(jim, 'Caleb Ortiz');
  await seesConnected(caleb, 'Jim Hanson');
  await page.evaluate(() => {
    const title = document.querySelector('[data-person=jim] .presence-title');
    window.changes = 0;
    new MutationObserver(records => (window.changes += records.length)).observe(title, {
      subtree: true,
      childList: true,
      attributes: true,
      characterData: true,
    });
  });
  await jim.getByRole('switch').click();
  await seesGone(caleb, 'Jim Hanson');
  await jim.getByRole('switch').click();
  await seesConnected(caleb, 'Jim Hanson');
  await jim.locator('.badge[data-state="on disk"]').waitFor();
  assert.equal(await page.evaluate(() => window.changes), 0);
});

test('a forged role in awareness shows the true one', async () => {
  const { coach, coachee } = await together();
  await coachee.getByLabel(/Claim to be the coach/).check();
  // Something that is sure to be sent after it.
  await coachee.locator('.prose').click();
  await coachee.keyboard.type('I am Jim');
  await coach.locator('.prose').getByText('I am Jim').waitFor();
  const caleb = coach.locator('[data-user=caleb]');
  assert.equal(await caleb.locator('.people-role').textContent(), 'coachee');
  assert.equal(await caleb.locator('.people-name').textContent(), 'Caleb Ortiz');
  assert.equal(await coach.locator('[data-user]').count(), 2);
});

test('one window shows both, side by side', async () => {
  const room = world.freshRoom();
  const page = await world.open('session', { as: 'jim', room });
  await page.getByRole('button', { name: 'Open Caleb Ortiz beside Jim Hanson' }).click();
  const [jim, caleb] = [page.locator('[data-person=jim]'), page.locator('[data-person=caleb]')];
  await seesConnected(jim, 'Caleb Ortiz');
  await jim.locator('.prose').click();
  await page.keyboard.type('both of us');
  await caleb.locator('.prose').getByText('both of us').waitFor();
  await caleb.getByRole('button', { name: 'Close Caleb Ortiz' }).click();
  await seesGone(jim, 'Caleb Ortiz');
});

test('two windows are two people without anybody choosing', async () => {
  const room = world.freshRoom();
  const context = await world.newContext();
  const first = await world.open('session', { room }, { context });
  await first.locator('[data-person=jim]').waitFor();
  const second = await world.open('session', { room }, { context });
  await second.locator('[data-person=caleb]').waitFor();
  await seesConnected(first, 'Caleb Ortiz');
  await first.reload();
  await first.locator('[data-person=jim]').waitFor();
});
