-- The head's epoch, with each of the next erasures from a position on, that one included; one row without an event if there is none.
-- parameters: $1 position bigint, $2 rows_max bigint
-- columns: epoch integer, position bigint, body bytea
-- errors: none
-- locks: none
SELECT head.epoch, erased.position, erased.body
FROM ledger.head LEFT JOIN (
    SELECT position, body FROM ledger.events
    WHERE type IN ('person-erased.v1', 'workspace-erased.v1') AND position >= $1::bigint
    ORDER BY position LIMIT $2::bigint
) AS erased ON true
WHERE head.only_row
ORDER BY erased.position
