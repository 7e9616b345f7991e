// Signs tokens the way an application's back end would: HS256, by hand.

import { createHmac } from 'node:crypto';

const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');

/** The time now in the unit that tokens use, plus `seconds`. */
export const inSeconds = seconds => Math.floor(Date.now() / 1000) + seconds;

/** A token with exactly these claims. */
export function sign(secret, claims) {
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/**
 * A token of a user who may enter one room, good for an hour unless `claims` says otherwise. Issued a second ago: what
 * is of the very second of a revocation is a matter of its own.
 */
export function tokenFor(secret, room, { sub, role, access = 'write', ...claims }) {
  return sign(secret, {
    sub,
    name: sub[0].toUpperCase() + sub.slice(1),
    iat: inSeconds(-1),
    exp: inSeconds(3600),
    rooms: { [room]: { access, ...(role && { role }) } },
    ...claims,
  });
}

/** A token of a back end. */
export const serviceToken = secret =>
  sign(secret, { sub: 'back-end', scope: 'service', iat: inSeconds(0), exp: inSeconds(3600) });
