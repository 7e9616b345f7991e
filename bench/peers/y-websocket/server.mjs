// The peer that y-websocket's own server is, with its own defaults: in memory, a free port.

import { createServer } from 'node:http';

import { setupWSConnection } from '@y/websocket-server/utils';
import WebSocket from 'ws';

const sockets = new WebSocket.Server({ noServer: true });
sockets.on('connection', setupWSConnection);
const server = createServer();
server.on('upgrade', (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, (opened) => {
    sockets.emit('connection', opened, request);
  });
});
server.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
