-- The last event of a stream: its version is what an ETag names.
-- parameters: $1 stream text
-- columns: version integer, position bigint (no row if the stream has no event)
-- errors: none
-- locks: none
SELECT version, position FROM ledger.events WHERE stream = $1::text ORDER BY version DESC LIMIT 1
