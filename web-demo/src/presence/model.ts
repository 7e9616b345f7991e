// The words of presence: who a participant is, and how to say it to people.

/** What somebody is doing, as far as others are told. */
export type Status = 'online' | 'idle' | 'away' | 'typing' | 'offline';

/** One user in one room, however many windows they have. The relay's shape, field by field. */
export interface Participant {
  readonly userId: string;
  readonly name: string;
  readonly avatar: string | null;
  readonly role: string | null;
  readonly color: string | null;
  readonly status: Status;
  readonly isConnected: boolean;
  /** RFC 3339; of somebody gone, when they went. */
  readonly lastSeen: string | null;
  readonly data: Readonly<Record<string, unknown>> | null;
}

/** Our own link to the relay. A short break is not told: it stays `connected` for a moment. */
export type Link = 'connecting' | 'connected' | 'reconnecting' | 'refused';

/** How a relay is reached. Keep the object the same between renders. */
export interface Relay {
  /** Its origin, such as `https://relay.example`. */
  readonly url: string;
  /** A token for the room in question; asked again whenever one is needed. */
  readonly token: () => Promise<string>;
  // What a test, or a demonstration of a bad network, puts in place of the browser's own.
  readonly WebSocket?: typeof WebSocket;
  readonly EventSource?: typeof EventSource;
  readonly fetch?: typeof fetch;
  readonly sendBeacon?: (url: string, body: string) => boolean;
}

/** Who coaches whom. */
export interface CoachingRelationship {
  readonly coach: Named;
  readonly coachee: Named;
}

/** Somebody by id and name. */
export interface Named {
  readonly userId: string;
  readonly name: string;
}

export type CoachingRole = 'coach' | 'coachee';

/** What a user is in a coaching relationship; nothing for everybody else. */
export function roleIn(relationship: CoachingRelationship, userId: string): CoachingRole | null {
  if (userId === relationship.coach.userId) return 'coach';
  if (userId === relationship.coachee.userId) return 'coachee';
  return null;
}

/** "JH" of "Jim Hanson"; the first two letters of a single word. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  const first = letters(words[0] ?? '');
  const last = words.length > 1 ? letters(words.at(-1) ?? '') : [];
  const chosen = last.length > 0 ? [first[0], last[0]] : first.slice(0, 2);
  return chosen.join('').toUpperCase() || '?';
}

// By code point, so that a name that begins with an emoji is not cut in half.
const letters = (word: string) => [...word];

/** "1 person", "2 people". */
export function peopleCount(count: number): string {
  return `${count} ${count === 1 ? 'person' : 'people'}`;
}

/** "Ann", "Ann and Bob", "Ann, Bob and 2 others". */
export function namesOf(names: readonly string[]): string {
  if (names.length <= 1) return names.join('');
  if (names.length === 2) return names.join(' and ');
  if (names.length === 3) return `${names[0]}, ${names[1]} and ${names[2]}`;
  return `${names[0]}, ${names[1]} and ${names.length - 2} others`;
}

const STATUS_TEXT: Record<Status, string> = {
  online: 'online',
  idle: 'idle',
  away: 'away',
  typing: 'typing',
  offline: 'offline',
};

export function statusText(status: Status): string {
  return STATUS_TEXT[status];
}

/** Reads a status that came over the wire; what is unknown is at least there. */
export function statusOf(value: unknown): Status {
  if (value === 'active') return 'online';
  return typeof value === 'string' && value in STATUS_TEXT ? (value as Status) : 'online';
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** "just now", "5 min ago", "3 h ago", "2 days ago"; "never" when nobody knows. */
export function lastSeenText(lastSeen: string | number | null, now: number): string {
  const then = lastSeen === null ? Number.NaN : new Date(lastSeen).getTime();
  if (Number.isNaN(then)) return 'never';
  const ago = Math.max(0, now - then);
  if (ago < MINUTE) return 'just now';
  if (ago < HOUR) return `${Math.floor(ago / MINUTE)} min ago`;
  if (ago < DAY) return `${Math.floor(ago / HOUR)} h ago`;
  const days = Math.floor(ago / DAY);
  return days === 1 ? 'yesterday' : `${days} days ago`;
}

/** Whether dark or light text is easier to read on a colour of somebody's choice. */
export function inkOn(color: string | null): 'dark' | 'light' {
  const hex = /^#([0-9a-f]{6})$/i.exec(color ?? '')?.[1];
  if (hex === undefined) return 'light';
  const [red = 0, green = 0, blue = 0] = [0, 2, 4].map(at => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  // WCAG's relative luminance; at 0.179 black and white contrast equally well.
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? 'dark' : 'light';
}
