-- Documents: a log of updates each, a snapshot that stands for its beginning, and what was set aside.

CREATE TABLE IF NOT EXISTS collab.document (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- By bytes, so that every node and every other store has the same order.
    room text COLLATE "C" NOT NULL UNIQUE,
    -- The last sequence number given out. Never goes back, whatever happens to the log.
    last bigint NOT NULL
)
-- Every commit updates `last`: room on the page keeps that from touching the indexes.
WITH (fillfactor = 70);

-- The checksums are the CRC-32 of the body.
CREATE TABLE IF NOT EXISTS collab.document_update (
    document_id bigint NOT NULL REFERENCES collab.document ON DELETE CASCADE,
    sequence bigint NOT NULL,
    body bytea NOT NULL,
    checksum bigint NOT NULL,
    PRIMARY KEY (document_id, sequence)
);

CREATE TABLE IF NOT EXISTS collab.document_snapshot (
    document_id bigint PRIMARY KEY REFERENCES collab.document ON DELETE CASCADE,
    through bigint NOT NULL,
    body bytea NOT NULL,
    checksum bigint NOT NULL
);

-- The checksum is in the key because an update and the snapshot through it can both end up here.
CREATE TABLE IF NOT EXISTS collab.document_quarantine (
    document_id bigint NOT NULL REFERENCES collab.document ON DELETE CASCADE,
    sequence bigint NOT NULL,
    body bytea NOT NULL,
    checksum bigint NOT NULL,
    PRIMARY KEY (document_id, sequence, checksum)
);
