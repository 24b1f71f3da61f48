-- Alarms of which nobody was told yet, oldest first.
-- parameters: ?1 rows_max integer
-- columns: key text, alarm blob
-- errors: none
-- locks: none
SELECT key, alarm FROM alarms WHERE told = 0 ORDER BY first_at_seconds, key LIMIT ?1
