-- The sets of workspaces that some runs name, those that are kept.
-- parameters: $1 hashes text[]
-- columns: set_sha256 text, bits bytea
-- errors: none
-- locks: none
SELECT encode(sha256, 'hex') AS set_sha256, body AS bits FROM ledger.blobs
WHERE sha256 IN (SELECT decode(hash, 'hex') FROM unnest($1::text[]) AS asked (hash))
