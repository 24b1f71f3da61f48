-- Let a log be signed, unless it was begun before.
-- parameters: ?1 name text, ?2 size integer, ?3 root blob, ?4 at_micros integer
-- columns: none
-- errors: database is locked, after the connection's timeout
-- locks: the file, for writing
INSERT INTO signed (name, size, root, at_micros) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO NOTHING
