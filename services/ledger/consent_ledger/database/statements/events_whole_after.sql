-- The next events after a position, in order, with everything that is kept of them.
-- parameters: $1 after bigint, $2 rows_max bigint
-- columns: position bigint, stream text, id uuid, type text, recorded_at timestamptz, body bytea, leaf_hash bytea
-- errors: none
-- locks: none
SELECT position, stream, id, type, recorded_at, body, leaf_hash
FROM ledger.events WHERE position > $1::bigint ORDER BY position LIMIT $2::bigint
