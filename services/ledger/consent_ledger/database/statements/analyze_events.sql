-- Let the planner know the table after a large import; autovacuum may come much later.
-- parameters: none
-- columns: none
-- errors: none; it skips with a warning what the role does not own or maintain
-- locks: SHARE UPDATE EXCLUSIVE on the table, which no reader or writer waits for
ANALYZE ledger.events
