-- How many alarms of a kind are kept of a log.
-- parameters: ?1 log text, ?2 alarm text
-- columns: count integer
-- errors: none
-- locks: none
SELECT count(*) FROM evidence WHERE log = ?1 AND alarm = ?2
