// What an application may import.

import './presence.css';

export { CoachingSessionTitle, type CoachingSessionTitleProps } from './CoachingSessionTitle';
export { Face, type FaceProps } from './Face';
export { FacePile, type FacePileProps } from './FacePile';
export {
  type CoachingRelationship,
  type CoachingRole,
  initials,
  inkOn,
  lastSeenText,
  type Link,
  type Named,
  namesOf,
  type Participant,
  peopleCount,
  type Relay,
  roleIn,
  type Status,
  statusText,
} from './model';
export { PresenceBar, type PresenceBarProps } from './PresenceBar';
export { change, remove, type Roster, snapshot } from './roster';
export { TypingIndicator, type TypingIndicatorProps } from './TypingIndicator';
export {
  type Board,
  type BoardPhase,
  type BoardPresence,
  createBoard,
  type Cursor,
  type Cursors,
  useBoard,
  useBoardCursors,
  useBoardPresence,
} from './useBoardPresence';
export { createFeed, type Feed, type FeedStatus, type FeedUpdate, type FeedUser, useFeed } from './useFeed';
export {
  createHeart,
  type PresenceUnder,
  type RoomOptions,
  type RoomPresence,
  type RoomUnder,
  usePresenceUnder,
  useRoomPresence,
} from './useRoomPresence';
export {
  type OwnPresence,
  presenceOf,
  type SessionAwareness,
  type SessionOptions,
  type SessionPresence,
  type SessionProvider,
  useSessionPresence,
} from './useSessionPresence';
export {
  createWorkspace,
  type Place,
  type PresenceMap,
  useFollow,
  useWorkspacePresence,
  type WorkspacePresence,
  type WorkspaceUser,
} from './useWorkspacePresence';
