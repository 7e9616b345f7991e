// A browser tab in a workspace: the real partysocket, and what an application makes of what it says.

import PartySocket from 'partysocket';
import WebSocket from 'ws';

import { until } from './clients.mjs';

export class Tab {
  /** Who is where, as the application shows it: user id → entry. */
  people = new Map();
  /** Every message, in order. */
  messages = [];
  /** Close events, in order. */
  closes = [];
  #waiting = new Set();

  /** @param {object} options `port` to go through a proxy; the rest goes to partysocket. */
  constructor(relay, workspace, { sub, port = relay.port, token, ...options }) {
    this.socket = new PartySocket({
      host: `127.0.0.1:${port}`,
      party: 'presence',
      room: `presence-${workspace}`,
      query: async () => ({ token: token?.() ?? relay.token(`workspace/${workspace}`, { sub }) }),
      WebSocket,
      // Its defaults would make the tests wait for seconds.
      minReconnectionDelay: 50,
      maxReconnectionDelay: 500,
      minUptime: 10,
      ...options,
    });
    this.socket.addEventListener('message', ({ data }) => this.#take(JSON.parse(data)));
    this.socket.addEventListener('close', ({ code, reason }) => {
      this.closes.push({ code, reason });
      this.#stir();
    });
    this.socket.addEventListener('error', () => {});
  }

  goTo(currentPath, resource = {}) {
    this.send({ type: 'presence_update', currentPath, ...resource });
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  /** The path that it shows of somebody. */
  pathOf(userId) {
    return this.people.get(userId)?.currentPath;
  }

  count(type) {
    return this.messages.filter(message => message.type === type).length;
  }

  until(what, condition) {
    return until([this], what, condition);
  }

  listen(look) {
    this.#waiting.add(look);
    return () => this.#waiting.delete(look);
  }

  close() {
    this.socket.close();
  }

  #take({ type, ...entry }) {
    this.messages.push({ type, ...entry });
    if (type === 'presence_snapshot') {
      this.people = new Map(entry.users.map(user => [user.userId, user]));
    } else if (type === 'user_joined') {
      this.people.set(entry.userId, { ...entry, currentPath: '' });
    } else if (type === 'presence_changed') {
      this.people.set(entry.userId, { userImage: this.people.get(entry.userId)?.userImage, ...entry });
    } else if (type === 'user_left') {
      this.people.delete(entry.userId);
    }
    this.#stir();
  }

  #stir() {
    for (const look of [...this.#waiting]) look();
  }
}
