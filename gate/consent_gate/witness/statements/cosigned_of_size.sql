-- The tree of a log that was cosigned with this very size.
-- parameters: ?1 log text, ?2 size integer
-- columns: size integer, root blob, note blob
-- errors: none
-- locks: none
SELECT size, root, note FROM cosigned WHERE log = ?1 AND size = ?2
