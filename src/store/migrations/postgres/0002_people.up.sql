-- People: the presences of boards, who was last seen where, and who follows whom. Ids are compared
-- by their bytes, so that every node and every other store has the same order.

DO $$ BEGIN
    IF to_regtype('collab.presence_status') IS NULL THEN
        CREATE TYPE collab.presence_status AS ENUM ('online', 'idle', 'away');
    END IF;
END $$;

CREATE TABLE IF NOT EXISTS collab.presence (
    board_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    status collab.presence_status NOT NULL,
    cursor_x double precision,
    cursor_y double precision,
    last_heartbeat_at timestamptz NOT NULL,
    connected_at timestamptz NOT NULL,
    -- NULL while the session is there.
    disconnected_at timestamptz,
    PRIMARY KEY (board_id, session_id)
)
-- Heartbeats touch no index as long as there is room on the page.
WITH (fillfactor = 70);

CREATE INDEX IF NOT EXISTS presence_board_id_idx ON collab.presence (board_id);
CREATE INDEX IF NOT EXISTS presence_disconnected_at_idx ON collab.presence (disconnected_at);

CREATE TABLE IF NOT EXISTS collab.departed (
    room text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    name text NOT NULL,
    avatar text,
    role text,
    color text NOT NULL,
    last_seen timestamptz NOT NULL,
    PRIMARY KEY (room, user_id)
);

-- Who is listed, and who is forgotten first.
CREATE INDEX IF NOT EXISTS departed_last_seen_idx
    ON collab.departed (room, last_seen DESC, user_id);

CREATE TABLE IF NOT EXISTS collab.feed_seen (
    user_id text COLLATE "C" PRIMARY KEY,
    last_seen timestamptz NOT NULL
)
WITH (fillfactor = 70);

-- Stays when the list is empty: that is an answer, too. Whoever changes a list locks this row.
CREATE TABLE IF NOT EXISTS collab.follower (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE IF NOT EXISTS collab.follow (
    follower_id bigint NOT NULL REFERENCES collab.follower ON DELETE CASCADE,
    user_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (follower_id, user_id)
);
