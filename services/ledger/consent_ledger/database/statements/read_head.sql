-- Read the head and the database's clock, without waiting for a commit.
-- parameters: none
-- columns: origin text, epoch integer, position bigint, recorded_at timestamptz, range bytea, now timestamptz
-- errors: none
-- locks: none
SELECT origin, epoch, position, recorded_at, range, clock_timestamp() AS now FROM ledger.head
