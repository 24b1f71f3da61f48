-- The largest tree of a log that was signed.
-- parameters: ?1 name text
-- columns: size integer, root blob
-- errors: none
-- locks: none
SELECT size, root FROM signed WHERE name = ?1
