// A TCP proxy between a client and the relay that can be a bad network.

import { once } from 'node:events';
import net from 'node:net';

export class Proxy {
  /** The network swallows everything, and tells nobody. */
  isSilent = false;
  /** One-way time added to what is forwarded. */
  delayMs = 0;
  #server = net.createServer({ pauseOnConnect: true });
  #pairs = new Set();

  /** @param {() => number} target the port to forward to, asked for each connection */
  static async start(target) {
    const proxy = new Proxy();
    proxy.#server.on('connection', near => {
      if (proxy.isSilent) return proxy.#keep(near, null);
      const far = net.connect({ host: '127.0.0.1', port: target() });
      proxy.#keep(near, far);
      proxy.#forward(near, far);
      proxy.#forward(far, near);
      near.resume();
    });
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port() {
    return this.#server.address().port;
  }

  /** Cuts all connections with a TCP reset, on both sides. */
  reset() {
    for (const pair of this.#pairs) for (const socket of pair) socket?.resetAndDestroy();
    this.#pairs.clear();
  }

  dispose() {
    this.reset();
    this.#server.close();
  }

  #keep(near, far) {
    const pair = [near, far];
    this.#pairs.add(pair);
    for (const socket of pair) socket?.on('error', () => {});
    near.on('close', () => this.#pairs.delete(pair));
  }

  #forward(from, to) {
    from.setNoDelay(true);
    // In order even when the delay shrinks: each piece waits for the one before.
    let last = Promise.resolve();
    const later = action => {
      if (this.isSilent) return;
      if (this.delayMs === 0) return void (last = last.then(action));
      const due = new Promise(resolve => setTimeout(resolve, this.delayMs));
      last = Promise.all([last, due]).then(action);
    };
    from.on('data', bytes => later(() => this.isSilent || to.write(bytes)));
    from.on('end', () => later(() => this.isSilent || to.end()));
    from.on('close', () => later(() => this.isSilent || to.destroy()));
  }
}
