-- Keep a text under its SHA-256.
-- parameters: $1 sha256 bytea, $2 media_type text, $3 body bytea
-- columns: none
-- errors: unique_violation if it is kept already, check_violation if the hash is another
-- locks: none
INSERT INTO ledger.blobs (sha256, media_type, body) VALUES ($1, $2, $3)
