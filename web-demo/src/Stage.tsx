// A page's people: one, or two side by side, each with a name, a network and a view of their own.

import { type ReactNode, useEffect, useMemo, useSyncExternalStore } from 'react';

import { go, hrefOf, useLocation } from './location';
import { type PageInfo, type PageName, PAGES } from './pages';
import { CAST, claim, type Person, personOf } from './people';
import { Face } from './presence';
import { type OwnRelay, relayFor } from './relay';

/** What a page's content is given. */
export interface Seat {
  readonly relay: OwnRelay;
  readonly person: Person;
  /** Which room of its kind: from the address, so that two addresses are two rooms. */
  readonly room: string;
}

export interface StageProps {
  readonly page: PageName;
  readonly person: Person;
  readonly children: (seat: Seat) => ReactNode;
}

export function Stage({ page, person, children }: StageProps) {
  const { query } = useLocation();
  const info = PAGES.find(({ name }) => name === page) as PageInfo;
  const room = query.get('room') ?? 'demo';
  const second = personOf(query.get('with'));
  const beside = second?.id === person.id ? undefined : second;
  const next = CAST.find(other => other.id !== person.id && other.id !== beside?.id) ?? CAST[1];

  return (
    <>
      <div className="page-head">
        <p className="page-about">{info.about}</p>
        <p className="page-hint">{info.hint}</p>
      </div>
      <div className="stage" data-seats={beside ? 2 : 1}>
        <Pane key={person.id} info={info} person={person} room={room} taken={beside} role="as">
          {children}
        </Pane>
        {beside ? (
          <Pane key={beside.id} info={info} person={beside} room={room} taken={person} role="with">
            {children}
          </Pane>
        ) : (
          <button
            type="button"
            className="button beside"
            onClick={() => go(hrefOf(page, { as: person.id, with: next.id }))}
          >
            <Face name={next.name} color={next.color} />
            Open {next.name} beside {person.name}
          </button>
        )}
      </div>
    </>
  );
}

interface PaneProps {
  readonly info: PageInfo;
  readonly person: Person;
  readonly room: string;
  readonly taken: Person | undefined;
  /** The key of the address that says who this is. */
  readonly role: 'as' | 'with';
  readonly children: (seat: Seat) => ReactNode;
}

function Pane({ info, person, room, taken, role, children }: PaneProps) {
  const relay = useMemo(() => relayFor(person), [person]);
  useEffect(() => {
    // So that the next window is somebody else.
    void claim(person);
  }, [person]);
  const isUp = useSyncExternalStore(relay.network.subscribe, relay.network.isUp);
  return (
    <section className="pane" aria-label={`The page as ${person.name} sees it`} data-person={person.id}>
      <div className="pane-bar">
        <Face name={person.name} color={person.color} />
        <label className="pane-person">
          <span className="presence-hidden">You are</span>
          <select
            value={person.id}
            onChange={event => go(hrefOf(info.name, { [role]: event.target.value }))}
          >
            {CAST.filter(other => other.id !== taken?.id).map(other => (
              <option key={other.id} value={other.id}>
                {other.name}
              </option>
            ))}
          </select>
        </label>
        <label className="switch">
          <input
            type="checkbox"
            role="switch"
            checked={isUp}
            onChange={event => relay.network.setUp(event.target.checked)}
          />
          <span className="switch-track" aria-hidden="true" />
          Network
        </label>
        {role === 'with' && (
          <button
            type="button"
            className="button button-quiet"
            onClick={() => go(hrefOf(info.name, { with: null }))}
          >
            Close<span className="presence-hidden"> {person.name}</span>
          </button>
        )}
      </div>
      {!isUp && (
        <p className="pane-cut" role="status">
          Cut off. {info.cut}
        </p>
      )}
      <div className="pane-content">{children({ relay, person, room })}</div>
    </section>
  );
}
