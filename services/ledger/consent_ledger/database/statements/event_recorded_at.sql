-- When the event at a position was recorded.
-- parameters: $1 position bigint
-- columns: recorded_at timestamptz (no row if there is no such event)
-- errors: none
-- locks: none
SELECT recorded_at FROM ledger.events WHERE position = $1::bigint
