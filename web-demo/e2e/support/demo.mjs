// The real relay with the built demo.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { Relay } from '../../../tests/clients/lib/relay.mjs';

export { Proxy } from '../../../tests/clients/lib/proxy.mjs';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));

/** @param {{ args?: string[], config?: string }} options more arguments of `serve` */
export async function startDemo({ args = [] } = {}) {
  if (!existsSync(DIST)) throw new Error('there is no dist: `npm run build` makes it');
  return Relay.start({ dev: true, args: ['--web', DIST, ...args] });
}

/** The address of a page; `port` to go through a proxy. */
export function pageUrl(relay, page, query = {}, port = relay.port) {
  const text = new URLSearchParams(query).toString();
  return `http://127.0.0.1:${port}/demo/${page}${text && `?${text}`}`;
}
