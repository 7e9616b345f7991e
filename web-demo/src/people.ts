// The cast of the demo, and which of them this window is.

/** Somebody who can be played. */
export interface Person {
  readonly id: string;
  readonly name: string;
  readonly color: string;
  /** What they are in coaching sessions. */
  readonly role: 'coach' | 'coachee' | 'guest';
}

/** In the order in which windows become them. */
export const CAST: readonly [Person, Person, ...Person[]] = [
  { id: 'jim', name: 'Jim Hanson', color: '#0f766e', role: 'coach' },
  { id: 'caleb', name: 'Caleb Ortiz', color: '#b45309', role: 'coachee' },
  { id: 'ada', name: 'Ada Okafor', color: '#6d28d9', role: 'guest' },
  { id: 'mei', name: 'Mei Lin', color: '#be185d', role: 'guest' },
  { id: 'noor', name: 'Noor Haddad', color: '#1d4ed8', role: 'guest' },
  { id: 'olga', name: 'Olga Petrova', color: '#4d7c0f', role: 'guest' },
  { id: 'ravi', name: 'Ravi Iyer', color: '#9a3412', role: 'guest' },
  { id: 'zoe', name: 'Zoë Martin', color: '#0e7490', role: 'guest' },
];

/** People without a window: they fill rooms. */
export const CROWD: readonly Person[] = [
  ['ben', 'Ben Adler', '#475569'],
  ['cleo', 'Cleo Dumas', '#a21caf'],
  ['dev', 'Dev Patel', '#15803d'],
  ['eva', 'Eva Novak', '#b91c1c'],
  ['finn', 'Finn Berg', '#4338ca'],
  ['gio', 'Gio Russo', '#a16207'],
  ['hana', 'Hana Sato', '#0369a1'],
].map(([id = '', name = '', color = '']) => ({ id, name, color, role: 'guest' as const }));

export const personOf = (id: string | null): Person | undefined =>
  CAST.find(person => person.id === id);

export const nameOf = (id: string): string =>
  [...CAST, ...CROWD].find(person => person.id === id)?.name ?? id;

const REMEMBERED = 'copresence-person';
const ONCE_MORE_MS = 150;

/** The first of the cast that no other window plays; the same again after a reload. */
export async function claimPerson(): Promise<Person> {
  const remembered = personOf(sessionStorage.getItem(REMEMBERED));
  let claimed = remembered && (await claim(remembered));
  if (remembered && !claimed) {
    // The page that was here before the reload may still hold it.
    await new Promise(resolve => setTimeout(resolve, ONCE_MORE_MS));
    claimed = await claim(remembered);
  }
  for (const person of CAST) {
    claimed ||= await claim(person);
  }
  const person = claimed || CAST[Math.floor(Math.random() * CAST.length)] || CAST[0];
  sessionStorage.setItem(REMEMBERED, person.id);
  return person;
}

/** Holds a person for as long as the window is open; nothing if somebody else does. */
export function claim(person: Person): Promise<Person | undefined> {
  // Exists on loopback and over HTTPS.
  if (!('locks' in navigator)) return Promise.resolve(undefined);
  return new Promise(resolve => {
    void navigator.locks.request(`copresence ${person.id}`, { ifAvailable: true }, lock => {
      resolve(lock === null ? undefined : person);
      return lock === null ? undefined : new Promise(() => undefined);
    });
  });
}
