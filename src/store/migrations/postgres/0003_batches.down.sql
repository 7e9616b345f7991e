DROP FUNCTION IF EXISTS collab.refuse(text, bigint);
DROP TABLE IF EXISTS collab.batch;
