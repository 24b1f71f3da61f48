-- Remember a tree as cosigned; of the same tree the newest cosignature is kept.
-- parameters: ?1 log text, ?2 size integer, ?3 root blob, ?4 note blob
-- columns: none
-- errors: database is locked, after the connection's timeout
-- locks: the file, for writing, from the transaction's begin
INSERT INTO cosigned (log, size, root, note) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (log, size) DO UPDATE SET note = excluded.note
