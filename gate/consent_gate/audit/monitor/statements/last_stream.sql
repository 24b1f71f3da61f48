-- The number of the stream that began last.
-- parameters: none
-- columns: id integer, null if there is none
-- errors: none
-- locks: none
SELECT max(id) FROM streams
