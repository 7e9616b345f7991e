// The five real clients behind one small interface, so that a test is a matrix over kinds.

import * as hocuspocus2 from 'hocuspocus-2';
import * as hocuspocus3 from 'hocuspocus-3';
import * as hocuspocus4 from 'hocuspocus-4';
import WebSocket from 'ws';
import { WebsocketProvider as YWebsocket2 } from 'y-websocket-2';
import { WebsocketProvider as YWebsocket3 } from 'y-websocket-3';
import { WebsocketProvider as YWebsocket30 } from 'y-websocket-3-0';
import { Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';

/** The clients that the contract names, one per behaviour on the wire. */
export const KINDS = ['yws2', 'yws3', 'hp2', 'hp3', 'hp4'];
export const SYNC_KINDS = ['yws2', 'yws3'];
export const COLLAB_KINDS = ['hp2', 'hp3', 'hp4'];

/** Every pair of different kinds, and each with itself. */
export const PAIRS = KINDS.flatMap((one, index) => KINDS.slice(index).map(other => [one, other]));

const Y_WEBSOCKET = { yws2: YWebsocket2, yws30: YWebsocket30, yws3: YWebsocket3 };
const HOCUSPOCUS = { hp2: hocuspocus2, hp3: hocuspocus3, hp4: hocuspocus4 };

/** Waiting longer than this for something on one machine means that it will not happen. */
export const PATIENCE_MS = 15_000;

/**
 * Node's `ws` throws when a socket is closed while it still connects and nobody listens for errors;
 * in browsers that is silent. Everything else is `ws` as it is.
 */
class BrowserLikeWebSocket extends WebSocket {
  constructor(...options) {
    super(...options);
    this.on('error', () => {});
  }
}

/** One client in one room. */
export class Client {
  /** Close events of its socket: `{ code, reason }`; without a close frame the code is 1006. */
  closes = [];
  /** What `closed` of y-websocket 3.1 said: it does not come back by itself. */
  stopped = [];
  /** Reasons that `authenticationFailed` gave. */
  denials = [];
  /** How often the relay let it in (Hocuspocus). */
  authentications = 0;
  /** Stateless messages it received. */
  messages = [];
  /** Every change of who is there, as the program is told of it: `{ at, added, updated, removed }`. */
  changes = [];
  #waiting = new Set();

  constructor(kind, doc) {
    this.kind = kind;
    this.doc = doc;
    this.awareness = new Awareness(doc);
    doc.on('update', () => this.stir());
    this.awareness.on('change', change => {
      this.changes.push({ at: performance.now(), ...change });
      this.stir();
    });
  }

  /** Leaves, as its program would when the page is done with the document. */
  close() {
    if (this.isClosed) return;
    this.isClosed = true;
    this.end();
    this.doc.destroy();
  }

  get id() {
    return this.doc.clientID;
  }

  get text() {
    return this.doc.getText('text');
  }

  /** Everyone's awareness state by client id, its own among them. */
  get states() {
    return this.awareness.getStates();
  }

  /** What it sees of another client. */
  sees(other) {
    return this.states.get(other.id);
  }

  /** Shows who it is, in the two shapes that editors use. */
  setPresence(presence, user = undefined) {
    this.awareness.setLocalState({ presence, ...(user && { user }) });
  }

  type(text) {
    this.text.insert(this.text.length, text);
  }

  /** Something happened: whoever waits looks again. */
  stir() {
    for (const look of [...this.#waiting]) look();
  }

  /** Waits until `condition` holds; it is looked at whenever something happens at this client. */
  until(what, condition, ms = PATIENCE_MS) {
    return until([this], what, condition, ms);
  }

  whenSynced(ms) {
    return this.until('being in sync', () => this.isSynced, ms);
  }

  listen(look) {
    this.#waiting.add(look);
    return () => this.#waiting.delete(look);
  }

  /** Cuts its TCP connection, with a FIN or a reset, without telling the provider. */
  drop({ reset = false } = {}) {
    const socket = this.webSocket?._socket;
    reset ? socket?.resetAndDestroy() : socket?.destroy();
  }
}

class SyncClient extends Client {
  constructor(kind, url, room, { token, params, connect = true, doc = new Y.Doc() }) {
    super(kind, doc);
    this.provider = new Y_WEBSOCKET[kind](url, room, doc, {
      awareness: this.awareness,
      params: { ...(token && { token }), ...params },
      WebSocketPolyfill: BrowserLikeWebSocket,
      disableBc: true,
      connect,
    });
    this.provider.on('connection-close', event => {
      if (event) this.closes.push({ code: event.code, reason: event.reason });
      this.stir();
    });
    this.provider.on('closed', event => {
      this.stopped.push(event);
      this.stir();
    });
    for (const event of ['sync', 'status']) this.provider.on(event, () => this.stir());
  }

  get isSynced() {
    return this.provider.synced;
  }

  /** This protocol acknowledges nothing. */
  get unsynced() {
    return undefined;
  }

  get webSocket() {
    return this.provider.ws;
  }

  /** Goes offline, as its program would, and waits until it is. */
  async disconnect() {
    this.provider.disconnect();
  }

  reconnect() {
    this.provider.connect();
  }

  end() {
    this.provider.destroy();
  }
}

class CollabClient extends Client {
  #disposers = [];

  constructor(kind, url, room, { token, socket, doc = new Y.Doc(), Provider, ...options }) {
    super(kind, doc);
    this.ownsSocket = !socket;
    this.socket = socket ?? openSocket(kind, url);
    this.#on(this.socket, 'close', ({ event }) => {
      this.closes.push({ code: event.code, reason: event.reason });
      this.stir();
    });
    this.#on(this.socket, 'status', () => this.stir());
    this.provider = new (Provider ?? HOCUSPOCUS[kind].HocuspocusProvider)({
      websocketProvider: this.socket,
      name: room,
      document: doc,
      awareness: this.awareness,
      token,
      onAuthenticated: () => {
        this.authentications += 1;
        this.stir();
      },
      onAuthenticationFailed: ({ reason }) => {
        this.denials.push(reason);
        this.stir();
      },
      onStateless: ({ payload }) => {
        this.messages.push(payload);
        this.stir();
      },
      onSynced: () => this.stir(),
      ...options,
    });
    this.#on(this.provider, 'unsyncedChanges', () => this.stir());
    this.provider.attach?.(); // Since 3.x a provider on a shared socket is attached by hand.
  }

  #on(emitter, event, listener) {
    emitter.on(event, listener);
    this.#disposers.push(() => emitter.off(event, listener));
  }

  get isSynced() {
    return this.provider.synced;
  }

  get unsynced() {
    return this.provider.unsyncedChanges;
  }

  /**
   * Waits until the relay has acknowledged everything. After edits made offline `hp2` counts below
   * zero by itself: it sets its counter to one when it returns, and sends what it queued as well.
   */
  whenSaved({ wasOffline = false } = {}) {
    const isZero = () => (wasOffline ? this.unsynced <= 0 : this.unsynced === 0);
    return this.until('all changes acknowledged', () => this.isSynced && isZero());
  }

  get webSocket() {
    return this.socket.webSocket;
  }

  async disconnect() {
    this.socket.disconnect();
    await this.until('being offline', () => this.socket.status === 'disconnected');
  }

  reconnect() {
    this.socket.connect();
  }

  end() {
    this.provider.destroy();
    for (const dispose of this.#disposers) dispose();
    if (this.ownsSocket) destroySocket(this.socket);
  }
}

function openSocket(kind, url) {
  const { HocuspocusProviderWebsocket } = HOCUSPOCUS[kind];
  return new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: BrowserLikeWebSocket });
}

function destroySocket(socket) {
  socket.destroy();
  // The timer with which 3.x reconnects survives destroy(), and would keep the process alive.
  socket.connect = async () => {};
}

/** A Hocuspocus socket that several documents share; it goes when the test ends. */
export function collabSocket(t, kind, url) {
  const socket = openSocket(kind, url);
  t.after(() => destroySocket(socket));
  return socket;
}

/** TipTap's own provider, pointed at an installation of one's own. */
export function tiptapCollab(baseUrl, room, options) {
  const { TiptapCollabProvider, TiptapCollabProviderWebsocket } = hocuspocus2;
  const socket = new TiptapCollabProviderWebsocket({
    baseUrl,
    WebSocketPolyfill: BrowserLikeWebSocket,
  });
  const client = new CollabClient('hp2', baseUrl, room, {
    ...options,
    socket,
    Provider: TiptapCollabProvider,
  });
  client.ownsSocket = true;
  return client;
}

/**
 * Connects a client of a kind to a room.
 *
 * @param {{ sub?: string, role?: string, access?: string, token?: any, port?: number }} options
 *   who it is; a `token` replaces all that, `null` is none at all; `port` is a proxy's. The rest
 *   goes to the provider.
 */
export function connect(kind, relay, room, { sub = kind, port, ...options } = {}) {
  const { role, access, claims, ...rest } = options;
  const token =
    'token' in rest ? rest.token ?? undefined : relay.token(room, { sub, role, access, ...claims });
  return kind in Y_WEBSOCKET
    ? new SyncClient(kind, relay.sync(port), room, { ...rest, token })
    : new CollabClient(kind, relay.collab(port), room, { ...rest, token });
}

/** Connects clients that leave when the test ends. */
export function host(t, relay) {
  return (kind, room, options) => leaveAfter(t, connect(kind, relay, room, options));
}

/** The client leaves when the test ends, if it has not left by then. */
export function leaveAfter(t, client) {
  t.after(() => client.close());
  return client;
}

/** Waits until `condition` holds; it is looked at whenever something happens at any client. */
export function until(clients, what, condition, ms = PATIENCE_MS) {
  return new Promise((resolve, reject) => {
    const end = settle => {
      clearTimeout(timer);
      for (const stop of stops) stop();
      settle();
    };
    const look = () => {
      let holds;
      try {
        holds = condition();
      } catch (error) {
        return end(() => reject(error));
      }
      if (holds) end(() => resolve(performance.now()));
    };
    const failed = () => new Error(`no sign of ${what} in ${ms} ms\n${describe(clients)}`);
    const timer = setTimeout(() => end(() => reject(failed())), ms);
    const stops = clients.map(client => client.listen(look));
    look();
  });
}

/** Waits until all clients hold the same document, of which `condition` may ask something. */
export function converge(clients, condition = () => true, ms = PATIENCE_MS) {
  const [first, ...others] = clients;
  const isSame = client =>
    client.text.toString() === first.text.toString() && knowsTheSame(client.doc, first.doc);
  return until(clients, 'one document at everybody', () => others.every(isSame) && condition(first), ms);
}

function knowsTheSame(one, other) {
  const [mine, theirs] = [one, other].map(doc => Y.decodeStateVector(Y.encodeStateVector(doc)));
  return mine.size === theirs.size && [...mine].every(([id, clock]) => theirs.get(id) === clock);
}

const describe = clients =>
  clients
    .map(client =>
      [
        `  ${client.kind} ${client.id}: synced ${client.isSynced}, unsynced ${client.unsynced},`,
        `text ${JSON.stringify(client.text.toString().slice(0, 60))},`,
        `sees ${JSON.stringify([...client.states.keys()])},`,
        `closes ${JSON.stringify(client.closes.slice(-3))}, denials ${JSON.stringify(client.denials)}`,
      ].join(' '),
    )
    .join('\n');
