-- The newest checkpoint of a log.
-- parameters: ?1 log text
-- columns: note blob
-- errors: none
-- locks: none
SELECT note FROM checkpoints WHERE log = ?1
