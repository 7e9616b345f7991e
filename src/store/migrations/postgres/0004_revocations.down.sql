-- Tokens that were refused are good again.

DROP TABLE IF EXISTS collab.revocation;
