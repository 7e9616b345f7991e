-- Tokens that were refused are good again.
DROP TABLE revocation;
