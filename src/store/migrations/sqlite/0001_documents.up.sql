-- Documents: a log of updates, and at most one snapshot that stands for the log's beginning.

CREATE TABLE document (
    id INTEGER PRIMARY KEY,
    room TEXT NOT NULL UNIQUE COLLATE BINARY,
    last INTEGER NOT NULL
) STRICT;

-- With rowids, although WITHOUT ROWID would keep a document's log together: there a search reads
-- the whole bodies it passes by, which may be large, or on a broken page.
CREATE TABLE document_update (
    document_id INTEGER NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    body BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (document_id, sequence)
) STRICT;

CREATE TABLE document_snapshot (
    document_id INTEGER PRIMARY KEY REFERENCES document (id) ON DELETE CASCADE,
    through INTEGER NOT NULL,
    body BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

-- The checksum is in the key because an update and the snapshot through it can both end up here.
CREATE TABLE document_quarantine (
    document_id INTEGER NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    body BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (document_id, sequence, checksum)
) STRICT;
