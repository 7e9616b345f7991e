// The pages, and a sentence about each.

export type PageName = 'session' | 'board' | 'events' | 'workspace' | 'network';

export interface PageInfo {
  readonly name: PageName;
  readonly title: string;
  /** What it is for. */
  readonly about: string;
  /** What to try. */
  readonly hint: string;
  /** What the others see when somebody's network is cut. */
  readonly cut: string;
}

export const PAGES: readonly PageInfo[] = [
  {
    name: 'session',
    title: 'Session',
    about: 'A coach and a coachee write together, and each sees whether the other is there.',
    hint: 'Type in one editor. Close a tab, reload it, cut its network: watch the other’s dot.',
    cut: 'The others saw the dot turn black at once. What is written here is sent on return.',
  },
  {
    name: 'board',
    title: 'Board',
    about: 'A board with room for a few: who is on it, what they do, and a queue at the door.',
    hint: 'Move notes. Fill the board with people, then open it as one more: there is a queue.',
    cut: 'The others still see this person, idle after a minute: a lost connection keeps its place for five minutes.',
  },
  {
    name: 'events',
    title: 'Event rooms',
    about: 'Rooms of an event, kept by heartbeats alone: who is in, who is typing, who was here.',
    hint: 'Write a message and watch the other side. Change rooms: you were last seen there just now.',
    cut: 'Heartbeats stopped. The others see this person leave after two and a half of them.',
  },
  {
    name: 'workspace',
    title: 'Workspace',
    about: 'Everybody in a workspace, at the place where they are; follow somebody and go along.',
    hint: 'Follow the other person, then click through the places as them.',
    cut: 'The others saw this person leave the workspace at once.',
  },
  {
    name: 'network',
    title: 'Network',
    about: 'What the people you follow are working on, as changes only, and nothing when they hide.',
    hint: 'Change what one person does; two seconds later the other knows. Then go invisible.',
    cut: 'Followers see no difference: for a minute a lost connection counts as there.',
  },
];
