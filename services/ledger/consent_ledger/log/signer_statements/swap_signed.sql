-- Replace what was signed of a log, if it is still what was expected.
-- parameters: ?1 size integer, ?2 root blob, ?3 at_micros integer, ?4 name text, ?5 expected size integer, ?6 expected root blob
-- columns: none
-- errors: database is locked, after the connection's timeout
-- locks: the file, for writing
UPDATE signed SET size = ?1, root = ?2, at_micros = ?3 WHERE name = ?4 AND size = ?5 AND root = ?6
