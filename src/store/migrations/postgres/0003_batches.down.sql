DROP FUNCTION IF EXISTS collab.refuse(text, bigint);
DROP FUNCTION IF EXISTS collab.note_batch(bigint, bigint);
DROP TABLE IF EXISTS collab.batch;
