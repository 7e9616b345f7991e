// Who is typing, without oneself.

import { memo } from 'react';

import { namesOf, type Participant } from './model';

export interface TypingIndicatorProps {
  readonly participants: readonly Participant[];
  /** Our own user id. */
  readonly self: string;
}

export const TypingIndicator = memo(function TypingIndicator({
  participants,
  self,
}: TypingIndicatorProps) {
  const names = participants
    .filter(({ userId, isConnected, status }) => userId !== self && isConnected && status === 'typing')
    .map(({ name }) => name);
  // Always on the page: its height is kept, and screen readers hear changes of what is there already.
  return (
    <p className="presence-typing" role="status">
      {names.length > 0 && `${namesOf(names)} ${names.length === 1 ? 'is' : 'are'} typing…`}
    </p>
  );
});
