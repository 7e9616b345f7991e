// Where the relay is, and how to get a token: the only file that knows.

import { createNetwork, type Network } from './network';
import { CAST, type Person } from './people';
import type { Relay } from './presence';

/** The pages come from the relay itself; with `npm run dev`, Vite passes everything on to it. */
const ORIGIN = window.location.origin;

const TOKEN_SECONDS = 3_600;

/** A person's way to the relay. */
export interface OwnRelay extends Relay {
  readonly person: Person;
  readonly network: Network;
  /** Where documents are edited. */
  readonly collabUrl: string;
}

export function relayFor(person: Person): OwnRelay {
  // The relay tells a board that somebody left as soon as their socket is closed, and waits for
  // five minutes when it has only gone silent.
  const network = createNetwork(url => url.includes('/ws/boards/'));
  return {
    person,
    network,
    url: ORIGIN,
    collabUrl: `${ORIGIN.replace(/^http/, 'ws')}/collab`,
    WebSocket: network.WebSocket,
    EventSource: network.EventSource,
    fetch: network.fetch,
    sendBeacon: network.sendBeacon,
    token: () => signed(network.fetch, claimsOf(person)),
  };
}

/** What a back end would put into this person's token. */
function claimsOf({ id, name, color, role }: Person) {
  return {
    sub: id,
    name,
    color,
    rooms: { '*': { access: 'write', role } },
    // Everybody follows everybody else of the cast.
    follows: CAST.map(other => other.id).filter(other => other !== id),
  };
}

/** A relay with `--dev` signs for whoever asks; a real one is given tokens by your back end. */
async function signed(fetch: Network['fetch'], claims: object): Promise<string> {
  const seconds = Math.floor(Date.now() / 1000);
  const answer = await fetch(`${ORIGIN}/dev/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...claims, iat: seconds, exp: seconds + TOKEN_SECONDS }),
  });
  if (!answer.ok) throw new Error(`no token: ${answer.status}`);
  return ((await answer.json()) as { token: string }).token;
}
