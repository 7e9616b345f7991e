// A real Chromium, and people in it: each in a context of their own, with what went wrong noted.

import { existsSync } from 'node:fs';

import { chromium } from 'playwright-core';

/** Debian's, unless a variable names another. */
const PROGRAM =
  process.env.CHROMIUM_BIN ??
  ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync) ??
  'chromium';

/** How long a test waits for what it wants to see. */
export const PATIENCE_MS = 30_000;

export class Browser {
  #browser;
  #complaints = [];

  static async start() {
    const browser = new Browser();
    browser.#browser = await chromium.launch({
      executablePath: PROGRAM,
      args: [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--no-first-run',
        // Two people side by side: neither is in the background.
        '--disable-renderer-backgrounding',
        '--disable-backgrounding-occluded-windows',
        '--disable-background-timer-throttling',
      ],
    });
    return browser;
  }

  /** Somebody with a browser of their own. */
  async context(options = {}) {
    const context = await this.#browser.newContext({
      viewport: { width: 1280, height: 900 },
      reducedMotion: 'reduce',
      ...options,
    });
    context.setDefaultTimeout(PATIENCE_MS);
    return context;
  }

  /** A page whose complaints count, but for those that a test expects. */
  async page(context, url, { expected } = {}) {
    const page = await context.newPage();
    const complain = text => {
      // Tokens are long, and nobody's business.
      const told = text.replace(/token=[^'\s&]+/g, 'token=…');
      if (!expected?.test(told)) this.#complaints.push(`${page.url()}: ${told}`);
    };
    page.on('console', message => {
      if (['error', 'warning'].includes(message.type())) {
        complain(`${message.type()}: ${message.text()} ${message.location().url ?? ''}`);
      }
    });
    page.on('pageerror', error => complain(`uncaught: ${error.stack ?? error}`));
    await page.goto(url);
    return page;
  }

  /** What pages have complained about since the last time. */
  takeComplaints() {
    return this.#complaints.splice(0);
  }

  async close() {
    await this.#browser?.close();
  }
}
