-- The first blobs whose bytes are not those that they are kept under.
-- parameters: $1 rows_max bigint
-- columns: sha256 bytea
-- errors: none
-- locks: none
SELECT sha256 FROM ledger.blobs WHERE sha256 <> sha256(body) ORDER BY sha256 LIMIT $1::bigint
