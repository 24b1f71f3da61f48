-- The next events of one stream after a position, in order.
-- parameters: $1 stream text, $2 after bigint, $3 rows_max bigint
-- columns: position bigint, stream text, version integer, body bytea
-- errors: none
-- locks: none
SELECT position, stream, version, body FROM ledger.events
WHERE stream = $1::text AND position > $2::bigint ORDER BY version LIMIT $3::bigint
