-- A text by its SHA-256.
-- parameters: $1 sha256 bytea
-- columns: media_type text, body bytea
-- errors: none
-- locks: none
SELECT media_type, body FROM ledger.blobs WHERE sha256 = $1
