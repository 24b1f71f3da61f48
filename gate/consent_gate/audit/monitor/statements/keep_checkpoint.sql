-- Keep the newest checkpoint of a log.
-- parameters: ?1 log text, ?2 note blob
-- columns: none
-- errors: none
-- locks: the file, for writing, from the transaction's begin
INSERT INTO checkpoints (log, note) VALUES (?1, ?2) ON CONFLICT (log) DO UPDATE SET note = excluded.note
