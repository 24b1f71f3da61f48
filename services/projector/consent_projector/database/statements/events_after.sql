-- The next events after a position, in order.
-- parameters: $1 after bigint, $2 rows_max bigint
-- columns: position bigint, stream text, body bytea
-- errors: none
-- locks: none
SELECT position, stream, body FROM ledger.events WHERE position > $1::bigint ORDER BY position LIMIT $2::bigint
