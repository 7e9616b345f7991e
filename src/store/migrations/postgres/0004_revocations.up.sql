-- Whose tokens are refused, if they were issued until a time. Rooms are a name, or the beginning of
-- names and a `*`; the empty text is everywhere.
CREATE TABLE IF NOT EXISTS collab.revocation (
    user_id text COLLATE "C" NOT NULL,
    rooms text COLLATE "C" NOT NULL,
    revoked_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, rooms)
);

CREATE INDEX IF NOT EXISTS revocation_revoked_at_idx ON collab.revocation (revoked_at);
