-- Take the session's advisory lock for a schema if it is free. Never waits.
-- parameters: $1 key bigint
-- columns: pg_try_advisory_lock boolean
-- errors: none
-- locks: the advisory lock $1, until the session ends, so that one process migrates at a time
SELECT pg_try_advisory_lock($1)
