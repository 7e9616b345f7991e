DROP TABLE document_quarantine;
DROP TABLE document_snapshot;
DROP TABLE document_update;
DROP TABLE document;
