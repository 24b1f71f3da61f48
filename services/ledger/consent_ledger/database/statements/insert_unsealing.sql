-- Record a look at a sealed field, before it is answered.
-- parameters: $1 position bigint, $2 principal text, $3 reason text
-- columns: number bigint, at timestamptz
-- errors: none
-- locks: an advisory one until commit, so that numbers are committed in order and whoever reads on from one misses none
WITH alone AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtext('ledger.unsealings')))
INSERT INTO ledger.unsealings (position, principal, reason)
SELECT $1::bigint, $2::text, $3::text FROM alone RETURNING number, at
