// People without a window, who come and go at the press of a button.

import { useEffect, useState } from 'react';

import { CROWD } from './people';
import { type OwnRelay, relayFor } from './relay';

export interface CrowdProps {
  /** Lets one of them in; returns what takes them away again. */
  readonly enter: (relay: OwnRelay, number: number) => () => void;
  readonly label: string;
}

export function Crowd({ enter, label }: CrowdProps) {
  const [count, setCount] = useState(0);
  return (
    <div className="crowd">
      <button
        type="button"
        className="button button-quiet"
        disabled={count === CROWD.length}
        onClick={() => setCount(count + 1)}
      >
        {label}
      </button>
      {count > 0 && (
        <button type="button" className="button button-quiet" onClick={() => setCount(0)}>
          Send {count === 1 ? 'that one' : `all ${count}`} away
        </button>
      )}
      {CROWD.slice(0, count).map((person, number) => (
        <Extra key={person.id} number={number} enter={enter} />
      ))}
    </div>
  );
}

function Extra({ number, enter }: Pick<CrowdProps, 'enter'> & { readonly number: number }) {
  useEffect(() => {
    const person = CROWD[number];
    return person && enter(relayFor(person), number);
  }, [number, enter]);
  return null;
}
