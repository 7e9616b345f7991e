-- Takes every document with it.

DROP TABLE IF EXISTS collab.document_quarantine;
DROP TABLE IF EXISTS collab.document_snapshot;
DROP TABLE IF EXISTS collab.document_update;
DROP TABLE IF EXISTS collab.document;
