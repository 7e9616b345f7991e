// The first page: what copresence is for, in a minute.

import { Link } from '../Link';
import { Face } from '../presence';
import { CAST } from '../people';
import { PAGES } from '.';

export function Start() {
  return (
    <div className="start">
      <section className="hero">
        <div className="hero-dots" aria-hidden="true">
          {CAST.slice(0, 5).map(({ id, name, color }) => (
            <Face key={id} name={name} color={color} />
          ))}
        </div>
        <h1>Edit together, and see at once who else is there.</h1>
        <p>
          copresence is one program that keeps shared documents and live presence. These five pages
          run on it, with the clients that people use every day. Open one in two windows, or open
          somebody beside you in the same.
        </p>
      </section>
      <ul className="cards">
        {PAGES.map(({ name, title, about }) => (
          <li key={name}>
            <Link page={name} className="card">
              <span className="card-title">{title}</span>
              <span className="card-about">{about}</span>
            </Link>
          </li>
        ))}
      </ul>
      <p className="page-hint">
        Each person has a network switch: cut it, and see what the others see. Programs look at the
        same presence over HTTP, for example <code>/v1/rooms/session/demo/presence</code>; who runs the relay looks at{' '}
        <a className="link" href="/">
          its live page
        </a>
        .
      </p>
    </div>
  );
}
