-- How many alarms are kept.
-- parameters: none
-- columns: count integer
-- errors: none
-- locks: none
SELECT count(*) FROM alarms
