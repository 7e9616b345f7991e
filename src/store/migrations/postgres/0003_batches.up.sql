-- The last batch of writes of each writer, noted in the batch's own transaction: who lost the answer to it
-- can tell whether it was carried out.

CREATE TABLE IF NOT EXISTS collab.batch (
    writer bigint PRIMARY KEY,
    number bigint NOT NULL,
    at timestamptz NOT NULL
)
-- Every commit updates a row.
WITH (fillfactor = 20);

-- Ends the transaction of a batch that was carried out before.
CREATE OR REPLACE FUNCTION collab.note_batch(its_writer bigint, its_number bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO collab.batch AS kept (writer, number, at) VALUES (its_writer, its_number, now())
    ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = excluded.at
    WHERE kept.number < excluded.number;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'YC002',
            MESSAGE = 'this batch was carried out before';
    END IF;
END $$;

-- Ends a transaction that would pass over a write. The detail is what the writer reads.
CREATE OR REPLACE FUNCTION collab.refuse(room text, sequence bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'YC001',
        MESSAGE = format('%s has something else at %s', room, sequence),
        DETAIL = json_build_array(room, sequence)::text;
END $$;
