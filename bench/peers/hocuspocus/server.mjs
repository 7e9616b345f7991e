// Hocuspocus with its own defaults, on a free port: documents in the SQLite file that is named, or
// in memory if none is.

import { SQLite } from '@hocuspocus/extension-sqlite';
import { Server } from '@hocuspocus/server';

const [database] = process.argv.slice(2);
const server = new Server({
  address: '127.0.0.1',
  port: 0,
  quiet: true,
  extensions: database ? [new SQLite({ database })] : [],
});
await server.listen();
console.log(`listening on http://127.0.0.1:${server.address.port}`);
