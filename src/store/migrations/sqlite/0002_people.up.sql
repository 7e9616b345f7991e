-- People: the presences of boards, who was last seen where, and who follows whom. Times are
-- RFC 3339 in UTC with milliseconds, so the order of the texts is theirs.

CREATE TABLE presence (
    board_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('online', 'idle', 'away')),
    cursor_x REAL,
    cursor_y REAL,
    last_heartbeat_at TEXT NOT NULL,
    connected_at TEXT NOT NULL,
    -- NULL while the session is there.
    disconnected_at TEXT,
    PRIMARY KEY (board_id, session_id)
) STRICT;

CREATE INDEX presence_board_id_idx ON presence (board_id);
CREATE INDEX presence_disconnected_at_idx ON presence (disconnected_at);

CREATE TABLE departed (
    room TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    avatar TEXT,
    role TEXT,
    color TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    PRIMARY KEY (room, user_id)
) STRICT;

-- Who is listed, and who is forgotten first.
CREATE INDEX departed_last_seen_idx ON departed (room, last_seen DESC, user_id);

CREATE TABLE feed_seen (
    user_id TEXT PRIMARY KEY,
    last_seen TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Stays when the list is empty: that is an answer, too.
CREATE TABLE follower (
    id INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE follow (
    follower_id INTEGER NOT NULL REFERENCES follower (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    PRIMARY KEY (follower_id, user_id)
) STRICT, WITHOUT ROWID;
