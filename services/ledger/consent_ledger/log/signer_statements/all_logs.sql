-- The logs that were begun, in the order of it.
-- parameters: none
-- columns: name text
-- errors: none
-- locks: none
SELECT name FROM signed ORDER BY begun
