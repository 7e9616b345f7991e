// A link within the application.

import type { MouseEvent, ReactNode } from 'react';

import { go, hrefOf } from './location';

export interface LinkProps {
  readonly page: string;
  readonly isCurrent?: boolean;
  readonly className?: string;
  readonly children: ReactNode;
}

export function Link({ page, isCurrent = false, className, children }: LinkProps) {
  const href = hrefOf(page);
  const onClick = (event: MouseEvent) => {
    // A new tab is a new window: the browser's business.
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    go(href);
    window.scrollTo(0, 0);
  };
  return (
    <a
      href={href}
      onClick={onClick}
      className={className}
      aria-current={isCurrent ? 'page' : undefined}
    >
      {children}
    </a>
  );
}
