-- Lock the head and read it. The clock is read after the lock was got: the subquery comes first.
-- parameters: none
-- columns: origin text, epoch integer, position bigint, recorded_at timestamptz, range bytea, now timestamptz
-- errors: query_canceled after the command timeout
-- locks: the head row FOR UPDATE, until the transaction ends: it gives all commits one order
SELECT origin, epoch, position, recorded_at, range, clock_timestamp() AS now
FROM (SELECT origin, epoch, position, recorded_at, range FROM ledger.head FOR UPDATE) AS head
