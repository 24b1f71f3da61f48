-- The next events after a position, in order, as they go into the tree of the log.
-- parameters: $1 after bigint, $2 rows_max bigint
-- columns: position bigint, stream text, body bytea, leaf_hash bytea
-- errors: none
-- locks: none
SELECT position, stream, body, leaf_hash FROM ledger.events WHERE position > $1::bigint ORDER BY position LIMIT $2::bigint
