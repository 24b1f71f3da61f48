-- The stream on which a request or an opt-in began, by the id of the event that began it.
-- parameters: $1 id uuid
-- columns: stream text (no row if there is none)
-- errors: none
-- locks: none
SELECT stream FROM ledger.events WHERE id = $1 AND type IN ('opt-out-requested.v1', 'opt-in-requested.v1')
