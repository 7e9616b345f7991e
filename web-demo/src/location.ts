// Where in the application we are; the browser's own history, and nothing else.

import { useMemo, useSyncExternalStore } from 'react';

const BASE = import.meta.env.BASE_URL;

const subscribe = (watcher: () => void) => {
  window.addEventListener('popstate', watcher);
  return () => window.removeEventListener('popstate', watcher);
};

export interface Location {
  /** `session`, `board` …; empty on the first page. */
  readonly page: string;
  readonly query: URLSearchParams;
}

export function useLocation(): Location {
  const href = useSyncExternalStore(subscribe, () => window.location.pathname + window.location.search);
  return useMemo(() => {
    const url = new URL(href, window.location.origin);
    const page = url.pathname.slice(BASE.length).replace(/\/$/, '');
    return { page, query: url.searchParams };
  }, [href]);
}

/** The address of a page; what is set in the query stays, `null` takes something out. */
export function hrefOf(page: string, changes: Record<string, string | null> = {}): string {
  const query = new URLSearchParams(window.location.search);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) query.delete(key);
    else query.set(key, value);
  }
  const text = query.toString();
  return BASE + page + (text && `?${text}`);
}

export function go(href: string) {
  window.history.pushState(null, '', href);
  window.dispatchEvent(new PopStateEvent('popstate'));
}
