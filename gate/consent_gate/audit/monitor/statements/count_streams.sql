-- How many streams there are.
-- parameters: none
-- columns: count integer
-- errors: none
-- locks: none
SELECT count(*) FROM streams
