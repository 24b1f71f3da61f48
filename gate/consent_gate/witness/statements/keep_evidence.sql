-- Keep what a log signed and did not fit, once.
-- parameters: ?1 log text, ?2 alarm text, ?3 size integer, ?4 root blob, ?5 cosigned blob, ?6 submitted blob, ?7 at_seconds integer
-- columns: none
-- errors: database is locked, after the connection's timeout
-- locks: the file, for writing, from the transaction's begin
INSERT INTO evidence (log, alarm, size, root, cosigned, submitted, at_seconds)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (log, alarm, size, root) DO NOTHING
