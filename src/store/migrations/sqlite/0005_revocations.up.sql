-- Whose tokens are refused, if they were issued until a time. Rooms are a name, or the beginning of
-- names and a `*`; the empty text is everywhere.
CREATE TABLE revocation (
    user_id TEXT NOT NULL,
    rooms TEXT NOT NULL,
    revoked_at TEXT NOT NULL,
    PRIMARY KEY (user_id, rooms)
) STRICT, WITHOUT ROWID;

CREATE INDEX revocation_revoked_at_idx ON revocation (revoked_at);
