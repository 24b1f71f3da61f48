-- Note that somebody was told of an alarm.
-- parameters: ?1 key text
-- columns: none
-- errors: none
-- locks: the file, for writing, from the transaction's begin
UPDATE alarms SET told = 1 WHERE key = ?1
