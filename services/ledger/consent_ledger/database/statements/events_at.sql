-- The events at some positions, in order.
-- parameters: $1 positions bigint[]
-- columns: position bigint, body bytea
-- errors: none
-- locks: none
SELECT position, body FROM ledger.events WHERE position = ANY ($1::bigint[]) ORDER BY position
