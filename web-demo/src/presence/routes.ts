// The relay's paths that presence uses.

/** A room's name in a path: its slashes stay. */
const inPath = (room: string) => room.split('/').map(encodeURIComponent).join('/');

export const routes = {
  heartbeat: '/v1/presence/heartbeat',
  leave: '/v1/presence/leave',
  roomStream: (room: string) => `/v1/rooms/${inPath(room)}/presence/stream`,
  underStream: (prefix: string) => `/v1/presence/stream?under=${encodeURIComponent(prefix)}`,
  board: (board: string) => `/ws/boards/${encodeURIComponent(board)}`,
  feed: '/ws/feed',
} as const;
