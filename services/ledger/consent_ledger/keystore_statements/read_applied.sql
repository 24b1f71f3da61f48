-- Through which event the log's erasures are applied.
-- parameters: none
-- columns: position integer, event_id text
-- errors: none
-- locks: none
SELECT position, event_id FROM applied
