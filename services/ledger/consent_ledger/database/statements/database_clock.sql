-- The database's clock.
-- parameters: none
-- columns: now timestamptz
-- errors: none
-- locks: none
SELECT clock_timestamp() AS now
