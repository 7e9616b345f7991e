// Starts the real relay as its own process, and speaks HTTP with it.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { serviceToken, tokenFor } from './token.mjs';

/** The program under test. */
export const BINARY =
  process.env.COPRESENCE_BIN ??
  fileURLToPath(new URL('../../../target/debug/copresence', import.meta.url));

/** How long the relay may take from its start to its first accepted connection. */
const START_MS_MAX = 20_000;

export class Relay {
  secret = randomBytes(32).toString('hex');
  port = 0;
  #process;
  #log = '';
  #folder = mkdtempSync(join(tmpdir(), 'copresence-clients-'));
  #options;

  /**
   * @param {{ dev?: boolean, args?: string[], under?: string[] }} options `dev`: guests may come in
   * without a token; `under`: a command that runs the relay and becomes it.
   */
  static async start(options = {}) {
    const relay = new Relay();
    relay.#options = options;
    await relay.run();
    return relay;
  }

  /** Runs the relay; the second time on the port it had before. */
  async run() {
    const { dev = false, args = [], under = [] } = this.#options;
    const listen = `127.0.0.1:${this.port}`;
    // Later arguments do not override earlier ones: a test that names a store gets that alone.
    const store = args.some(arg => /^--(store|data)\b/.test(arg)) ? [] : ['--store', 'memory:'];
    const command = ['serve', '--listen', listen, '--jwt-secret', this.secret, ...store, ...args];
    const [program, ...first] = [...under, BINARY];
    const child = spawn(program, [...first, ...command, ...(dev ? ['--dev'] : [])], {
      cwd: this.#folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process = child;
    this.exited = once(child, 'exit').then(([code, signal]) => {
      if (code !== 0 && signal !== 'SIGKILL') console.error(`the relay ended\n${this.#log}`);
      return { code, signal };
    });
    child.stderr.setEncoding('utf8').on('data', text => {
      this.#log = (this.#log + text).slice(-20_000);
    });

    const line = createInterface({ input: child.stdout });
    const address = await new Promise((resolve, reject) => {
      const failed = why => reject(new Error(`the relay ${why}\n${this.#log}`));
      const timer = setTimeout(() => failed('does not start'), START_MS_MAX);
      child.once('error', error => failed(`cannot be run: ${error.message}`));
      child.once('exit', code => failed(`ended with ${code} before it listened`));
      line.on('line', text => {
        const found = /^listening on http:\/\/(.+)$/.exec(text);
        if (!found) return;
        clearTimeout(timer);
        resolve(found[1]);
      });
    });
    this.port = Number(address.split(':').at(-1));
  }

  /** Runs it again where clients of the run before do not find it. */
  async restartElsewhere() {
    this.port = 0;
    await this.run();
  }

  get pid() {
    return this.#process.pid;
  }

  get http() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Where y-websocket clients connect; `port` to go through a proxy. */
  sync(port = this.port) {
    return `ws://127.0.0.1:${port}/sync`;
  }

  /** Where Hocuspocus clients connect. */
  collab(port = this.port) {
    return `ws://127.0.0.1:${port}/collab`;
  }

  token(room, claims) {
    return tokenFor(this.secret, room, claims);
  }

  get service() {
    return serviceToken(this.secret);
  }

  /** Calls the HTTP API, as a back end unless a token is given. */
  fetch(path, { token = this.service, headers, ...options } = {}) {
    return fetch(this.http + path, {
      ...options,
      headers: { authorization: `Bearer ${token}`, ...headers },
    });
  }

  async json(path, options) {
    const answer = await this.fetch(path, options);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** Asks the relay to stop, as an operator would. */
  terminate() {
    this.#process.kill('SIGTERM');
    return this.exited;
  }

  /** Ends the relay without letting it say good-bye. */
  kill() {
    this.#process.kill('SIGKILL');
    return this.exited;
  }

  async dispose() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

let rooms = 0;

/** A room that no other test uses. */
export const freshRoom = (word = 'room') => `session/${word}-${process.pid}-${++rooms}`;
