-- The largest tree of a log that was cosigned.
-- parameters: ?1 log text
-- columns: size integer, root blob, note blob
-- errors: none
-- locks: none
SELECT size, root, note FROM cosigned WHERE log = ?1 ORDER BY size DESC LIMIT 1
