-- All events of some streams up to a position, in order.
-- parameters: $1 streams text[], $2 until bigint
-- columns: position bigint, stream text, version integer, body bytea
-- errors: none
-- locks: none
SELECT position, stream, version, body FROM ledger.events
WHERE stream = ANY ($1::text[]) AND position <= $2::bigint ORDER BY position
