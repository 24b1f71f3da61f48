-- What logs signed and did not fit, newest first.
-- parameters: ?1 rows_max integer
-- columns: log text, alarm text, size integer, root blob, cosigned blob, submitted blob, at_seconds integer
-- errors: none
-- locks: none
SELECT log, alarm, size, root, cosigned, submitted, at_seconds FROM evidence ORDER BY id DESC LIMIT ?1
