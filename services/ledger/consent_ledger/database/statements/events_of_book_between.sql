-- The events of policies, purposes and the log itself between two positions, both included, in order.
-- parameters: $1 first bigint, $2 last bigint
-- columns: position bigint, stream text, body bytea, leaf_hash bytea
-- errors: none
-- locks: none
SELECT position, stream, body, leaf_hash FROM ledger.events
WHERE position BETWEEN $1::bigint AND $2::bigint AND (
    (stream >= 'policy/' AND stream < 'policy0')
    OR (stream >= 'purpose/' AND stream < 'purpose0')
    OR (stream >= 'log/' AND stream < 'log0')
)
ORDER BY position
