-- The last batch of writes of each writer, noted in the batch's own transaction: who lost the answer to it
-- can tell whether it was carried out.
CREATE TABLE batch (
    writer INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    at TEXT NOT NULL
) STRICT;
