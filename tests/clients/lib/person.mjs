// A person in a process of their own, who can be killed without a good-bye.
//
// As a module: `Person.start`. As a program: one client, described by the JSON in its argument.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { connect } from './clients.mjs';

const FILE = fileURLToPath(import.meta.url);

export class Person {
  #process;

  /** Starts a process in which one client enters a room and shows `presence`. */
  static async start(t, relay, kind, room, { presence, ...who }) {
    const person = new Person();
    const token = relay.token(room, who);
    const order = JSON.stringify({ kind, port: relay.port, room, token, presence });
    person.#process = spawn(process.execPath, [FILE, order], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => person.#process.kill('SIGKILL'));
    const lines = createInterface({ input: person.#process.stdout });
    const [line] = await once(lines, 'line', { signal: AbortSignal.timeout(20_000) });
    person.id = Number(line);
    return person;
  }

  /** SIGKILL: nothing of the client's own code runs any more. */
  kill() {
    this.#process.kill('SIGKILL');
  }
}

if (process.argv[1] === FILE) {
  const { kind, port, room, token, presence } = JSON.parse(process.argv[2]);
  const relay = {
    sync: () => `ws://127.0.0.1:${port}/sync`,
    collab: () => `ws://127.0.0.1:${port}/collab`,
  };
  const client = connect(kind, relay, room, { token });
  client.setPresence(presence);
  await client.whenSynced();
  console.log(client.id);
}
