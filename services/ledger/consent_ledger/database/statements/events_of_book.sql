-- All events of what concerns everybody (policies, purposes, the log itself), in order. '0' follows '/' in C order.
-- parameters: none
-- columns: position bigint, stream text, version integer, body bytea
-- errors: none
-- locks: none
SELECT position, stream, version, body FROM ledger.events
WHERE (stream >= 'policy/' AND stream < 'policy0')
    OR (stream >= 'purpose/' AND stream < 'purpose0')
    OR (stream >= 'log/' AND stream < 'log0')
ORDER BY position
