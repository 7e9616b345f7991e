// One face: a picture, or initials on the person's colour.

import { memo } from 'react';

import { initials, inkOn } from './model';

export interface FaceProps {
  readonly name: string;
  readonly avatar?: string | null;
  readonly color?: string | null;
}

/** Decoration: the name stands beside it, or is said by whoever draws it. */
export const Face = memo(function Face({ name, avatar, color }: FaceProps) {
  return (
    <span
      className="presence-face"
      data-ink={inkOn(color ?? null)}
      style={color ? { backgroundColor: color } : undefined}
      aria-hidden="true"
    >
      {avatar ? <img src={avatar} alt="" /> : initials(name)}
    </span>
  );
});
