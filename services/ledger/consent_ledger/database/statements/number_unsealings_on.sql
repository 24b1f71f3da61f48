-- Let looks at sealed fields be numbered behind those that were put back.
-- parameters: none
-- columns: number bigint
-- errors: none
-- locks: none
SELECT setval(pg_get_serial_sequence('ledger.unsealings', 'number'), greatest(max(number), 1), max(number) IS NOT NULL) AS number
FROM ledger.unsealings
