-- Keep an alarm, unless it is known.
-- parameters: ?1 key text, ?2 alarm blob, ?3 first_at_seconds integer
-- columns: none
-- errors: none
-- locks: the file, for writing, from the transaction's begin
INSERT INTO alarms (key, alarm, first_at_seconds, told) VALUES (?1, ?2, ?3, 0) ON CONFLICT (key) DO NOTHING
