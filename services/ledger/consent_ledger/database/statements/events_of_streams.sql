-- All events of some streams, in order.
-- parameters: $1 streams text[]
-- columns: stream text, version integer, position bigint, body bytea
-- errors: none
-- locks: none
SELECT stream, version, position, body FROM ledger.events WHERE stream = ANY ($1::text[]) ORDER BY position
