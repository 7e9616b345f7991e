// Which page for which path, and what is around all of them.

import { lazy, Suspense, useEffect, useState } from 'react';

import { Link } from './Link';
import { useLocation } from './location';
import { Start } from './pages/Start';
import { Stage } from './Stage';
import { ThemeSwitch } from './ThemeSwitch';
import { claimPerson, type Person, personOf } from './people';
import { PAGES, type PageName } from './pages';

/** The editor is most of the code; nobody waits for it on the first page. */
const CONTENT = {
  session: lazy(() => import('./pages/Session')),
  board: lazy(() => import('./pages/Board')),
  events: lazy(() => import('./pages/Events')),
  workspace: lazy(() => import('./pages/Workspace')),
  network: lazy(() => import('./pages/Network')),
} satisfies Record<PageName, unknown>;

export function App() {
  const { page, query } = useLocation();
  const current = PAGES.find(({ name }) => name === page);
  useEffect(() => {
    document.title = current ? `${current.title} · copresence` : 'copresence';
  }, [current]);
  return (
    <>
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="site-header">
        <Link page="" className="brand" isCurrent={page === ''}>
          <span className="brand-mark" aria-hidden="true" />
          copresence
        </Link>
        <nav aria-label="Pages">
          {PAGES.map(({ name, title }) => (
            <Link key={name} page={name} isCurrent={name === page}>
              {title}
            </Link>
          ))}
        </nav>
        <ThemeSwitch />
      </header>
      <main id="main" tabIndex={-1}>
        {current ? (
          <Page key={current.name} name={current.name} wanted={query.get('as')} />
        ) : page === '' ? (
          <Start />
        ) : (
          <Nowhere />
        )}
      </main>
    </>
  );
}

interface PageProps {
  readonly name: PageName;
  readonly wanted: string | null;
}

function Page({ name, wanted }: PageProps) {
  const person = usePerson(wanted);
  const Content = CONTENT[name];
  const waiting = <p className="waiting">Opening…</p>;
  if (person === null) return waiting;
  return (
    <Suspense fallback={waiting}>
      <Stage page={name} person={person}>
        {seat => <Content {...seat} />}
      </Stage>
    </Suspense>
  );
}

/** Whom the address asks for, or whom no other window plays. */
function usePerson(wanted: string | null): Person | null {
  const [claimed, setClaimed] = useState<Person | null>(null);
  const asked = personOf(wanted);
  useEffect(() => {
    if (asked !== undefined) return;
    let isGone = false;
    void claimPerson().then(person => isGone || setClaimed(person));
    return () => {
      isGone = true;
    };
  }, [asked]);
  return asked ?? claimed;
}

function Nowhere() {
  return (
    <div className="page-head">
      <h1>There is no such page</h1>
      <p>
        <Link page="">Begin at the beginning</Link>
      </p>
    </div>
  );
}
