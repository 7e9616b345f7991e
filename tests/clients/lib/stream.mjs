// Reads a stream of server-sent events.

/** The events of a stream, in order, as `{ event, data }`. */
export class EventStream {
  #abort = new AbortController();
  #queue = [];
  #waiting = [];
  /** Whether the relay ended the stream. */
  hasEnded = false;

  static async open(relay, path, options) {
    const stream = new EventStream();
    const answer = await relay.fetch(path, { ...options, signal: stream.#abort.signal });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    stream.#read(answer.body).catch(() => {}).finally(() => stream.#end());
    return stream;
  }

  /** The next event; one that does not come within `ms` is an error. */
  async next(what = 'the next event', ms = 10_000) {
    if (this.#queue.length > 0) return this.#queue.shift();
    if (this.hasEnded) throw new Error(`the stream ended before ${what}`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no sign of ${what} in ${ms} ms`)), ms);
      this.#waiting.push({
        resolve: event => {
          clearTimeout(timer);
          event ? resolve(event) : reject(new Error(`the stream ended before ${what}`));
        },
      });
    });
  }

  /** Reads until an event passes; returns everything read, that one last. */
  async upTo(what, isLast, ms) {
    const events = [];
    do events.push(await this.next(what, ms));
    while (!isLast(events.at(-1)));
    return events;
  }

  close() {
    this.#abort.abort();
  }

  #end() {
    this.hasEnded = true;
    for (const { resolve } of this.#waiting.splice(0)) resolve(null);
  }

  async #read(body) {
    let text = '';
    for await (const piece of body.pipeThrough(new TextDecoderStream())) {
      text += piece.replaceAll('\r\n', '\n');
      const blocks = text.split('\n\n');
      text = blocks.pop();
      for (const block of blocks) this.#take(block);
    }
  }

  #take(block) {
    const field = name =>
      block
        .split('\n')
        .filter(line => line.startsWith(`${name}:`))
        .map(line => line.slice(name.length + 1).replace(/^ /, ''))
        .join('\n');
    const data = field('data');
    if (data === '') return; // A comment: the stream is alive.
    const event = { event: field('event') || 'message', data: JSON.parse(data) };
    const waiting = this.#waiting.shift();
    waiting ? waiting.resolve(event) : this.#queue.push(event);
  }
}

/** The stream of who is in a room; its first event is the snapshot. */
export const presenceStream = (relay, room, options) =>
  EventStream.open(relay, `/v1/rooms/${room}/presence/stream`, options);
