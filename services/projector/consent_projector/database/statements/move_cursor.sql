-- Move a cursor alone, forward or back, and renew its lease.
-- parameters: $1 view text, $2 owner text, $3 generation integer, $4 after bigint, $5 upto bigint, $6 lease interval
-- columns: position bigint (no row, and nothing is moved, if the lease or the position is another's)
-- errors: none
-- locks: the cursor's row, for this statement
SELECT position FROM views.move_cursor($1, $2, $3, $4, $5, $6, '{}') AS moved (position)
