// The real relay with the built demo.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Relay } from '../../../tests/clients/lib/relay.mjs';

export { Proxy } from '../../../tests/clients/lib/proxy.mjs';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));

/**
 * @param {{ args?: string[], config?: string, under?: string[] }} options more arguments of `serve`,
 * the text of its configuration file, and a command that becomes the relay
 */
export async function startDemo({ args = [], config, under = [] } = {}) {
  if (!existsSync(DIST)) throw new Error('there is no dist: `npm run build` makes it');
  const folder = mkdtempSync(join(tmpdir(), 'copresence-demo-'));
  const file = join(folder, 'copresence.toml');
  writeFileSync(file, config ?? '');
  const relay = await Relay.start({
    dev: true,
    args: ['--web', DIST, '--config', file, ...args],
    under,
  });
  const dispose = relay.dispose.bind(relay);
  relay.dispose = async () => {
    await dispose();
    rmSync(folder, { recursive: true });
  };
  return relay;
}

/** The address of a page; `port` to go through a proxy. */
export function pageUrl(relay, page, query = {}, port = relay.port) {
  const text = new URLSearchParams(query).toString();
  return `http://127.0.0.1:${port}/demo/${page}${text && `?${text}`}`;
}
