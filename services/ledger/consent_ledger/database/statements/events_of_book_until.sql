-- All events of policies, purposes and the log itself up to a position, in order.
-- parameters: $1 until bigint
-- columns: position bigint, stream text, version integer, body bytea
-- errors: none
-- locks: none
SELECT position, stream, version, body FROM ledger.events
WHERE position <= $1::bigint AND (
    (stream >= 'policy/' AND stream < 'policy0')
    OR (stream >= 'purpose/' AND stream < 'purpose0')
    OR (stream >= 'log/' AND stream < 'log0')
)
ORDER BY position
