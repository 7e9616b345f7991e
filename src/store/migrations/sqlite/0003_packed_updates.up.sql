-- A row of the log may hold several updates that came in one commit: the row's sequence is that of
-- the last, body is all of them in a row, and parts a JSON array that has [length, checksum] of
-- each. The row's checksum is then that of parts.
ALTER TABLE document_update ADD COLUMN parts TEXT;
