CREATE TEMP TABLE unpacked AS
    SELECT document_id,
           sequence - json_array_length(parts) + 1 + part.key AS sequence,
           substr(body, 1 + sum(part.value ->> 0) OVER parts_of_row - (part.value ->> 0),
                  part.value ->> 0) AS body,
           part.value ->> 1 AS checksum
    FROM document_update, json_each(parts) AS part
    WHERE parts IS NOT NULL
    WINDOW parts_of_row AS (PARTITION BY document_update.rowid ORDER BY part.key);
DELETE FROM document_update WHERE parts IS NOT NULL;
ALTER TABLE document_update DROP COLUMN parts;
INSERT INTO document_update SELECT document_id, sequence, body, checksum FROM unpacked;
DROP TABLE unpacked;
