-- Bound how long this transaction's next statements wait for a lock.
-- parameters: $1 wait text (an interval with unit)
-- columns: set_config text
-- errors: none
-- locks: none
SELECT set_config('lock_timeout', $1, true)
