// A real Postgres on a port of its own, which ends with this process whatever happens to it.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const VERSIONS = '/usr/lib/postgresql';
const PASSWORD = 'only-for-this-test';
const START_MS_MAX = 30_000;

/** Stops the server when its input ends: it does so with the program that started it. */
const GUARD = `
  "$1/postgres" -D "$2/data" >>"$2/log" 2>&1 </dev/null &
  read _
  kill -QUIT $! && wait $!
  rm -rf "$2"`;

export class Postgres {
  #guard;
  #folder;

  static async start() {
    const server = new Postgres();
    const binaries = findBinaries();
    const owner = ownerIfRoot();
    const folder = mkdtempSync(join(tmpdir(), 'copresence-postgres-'));
    const password = join(folder, 'password');
    writeFileSync(password, PASSWORD);
    if (owner) for (const path of [folder, password]) chownSync(path, owner.uid, owner.gid);
    const data = join(folder, 'data');
    const as = { cwd: '/', ...owner };
    const initdb = ['--no-sync', '--encoding=UTF8', '--locale=C', '--auth=scram-sha-256'];
    execFileSync(
      join(binaries, 'initdb'),
      [...initdb, '--username=relay', `--pwfile=${password}`, `--pgdata=${data}`],
      { ...as, stdio: ['ignore', 'ignore', 'inherit'] },
    );
    server.port = await freePort();
    const settings = [
      "listen_addresses = '127.0.0.1'",
      `port = ${server.port}`,
      "unix_socket_directories = ''",
      'fsync = on',
      "shared_buffers = '16MB'",
    ];
    writeFileSync(join(data, 'postgresql.auto.conf'), settings.join('\n'));
    server.#folder = folder;
    server.#guard = spawn('sh', ['-c', GUARD, 'sh', binaries, folder], {
      ...as,
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    await server.#listening();
    return server;
  }

  /** The address of the one database it has. */
  get url() {
    return `postgres://relay:${PASSWORD}@127.0.0.1:${this.port}/postgres?sslmode=disable`;
  }

  async dispose() {
    if (this.#guard.exitCode !== null) return;
    const ended = once(this.#guard, 'exit');
    this.#guard.stdin.end();
    await ended;
  }

  /** Waits for the line in its log: a connection alone may come before it takes any. */
  async #listening() {
    const log = join(this.#folder, 'log');
    for (const end = Date.now() + START_MS_MAX; Date.now() < end; await sleep(20)) {
      const text = existsSync(log) ? readFileSync(log, 'utf8') : '';
      if (text.includes('database system is ready to accept connections')) return;
      if (text.includes('FATAL')) break;
    }
    const text = existsSync(log) ? readFileSync(log, 'utf8') : 'it has no log';
    await this.dispose();
    throw new Error(`Postgres does not start\n${text}`);
  }
}

function findBinaries() {
  const versions = existsSync(VERSIONS) ? readdirSync(VERSIONS).sort().reverse() : [];
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    ...versions.map(version => join(VERSIONS, version, 'bin')),
  ];
  const has = folder => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres'));
  const found = folders.find(has);
  if (!found) throw new Error(`there is no Postgres on this machine (no initdb in PATH or ${VERSIONS})`);
  return found;
}

/** Who runs the server instead of root, as whom it refuses to run. */
function ownerIfRoot() {
  if (process.getuid() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = flag => Number(execFileSync('id', [flag, name], { stdio: ['ignore', 'pipe', 'ignore'] }));
      return { uid: id('-u'), gid: id('-g') };
    } catch {
      // There is no such user: the next.
    }
  }
  throw new Error('Postgres does not run as root, and there is no other user for it');
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
