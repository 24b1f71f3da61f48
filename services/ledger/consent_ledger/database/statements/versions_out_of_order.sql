-- The first events up to a position whose version is not the next one of their stream. All of the table is read.
-- parameters: $1 upto bigint, $2 rows_max bigint
-- columns: position bigint, stream text, version integer, expected bigint
-- errors: none
-- locks: none
SELECT position, stream, version, expected
FROM (
    SELECT position, stream, version, row_number() OVER (PARTITION BY stream ORDER BY position) AS expected
    FROM ledger.events WHERE position <= $1::bigint
) AS counted
WHERE version <> expected
ORDER BY position LIMIT $2::bigint
