// What every file of tests begins and ends with: a relay, a browser, and no complaints.

import assert from 'node:assert/strict';
import { after, afterEach, before } from 'node:test';

import { Browser } from './browser.mjs';
import { pageUrl, startDemo } from './demo.mjs';

let rooms = 0;

/** A relay and a browser for the tests of a file; each test fails on what a page complains about. */
export function suite(options = {}) {
  const world = {
    relay: null,
    browser: null,
    contexts: [],
    /** A room that no other test uses. */
    freshRoom: () => `e2e-${++rooms}`,
    /** Somebody with a browser of their own, on a page. */
    async open(page, query, { port, context: given, expected, ...context } = {}) {
      const own = given ?? (await world.newContext(context));
      const url = pageUrl(world.relay, page, query, port);
      return world.browser.page(own, url, { expected });
    },
    async newContext(options) {
      const context = await world.browser.context(options);
      world.contexts.push(context);
      return context;
    },
  };
  before(async () => {
    [world.relay, world.browser] = await Promise.all([startDemo(options), Browser.start()]);
  });
  afterEach(async () => {
    await Promise.all(world.contexts.splice(0).map(context => context.close()));
    assert.deepEqual(world.browser.takeComplaints(), [], 'a page complained');
  });
  after(async () => {
    await world.browser?.close();
    await world.relay?.dispose();
  });
  return world;
}

/** Waits until a function of the page's world returns something true; says what for if it does not. */
export async function eventually(what, check, ms = 10_000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) assert.fail(`waited in vain for: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}
