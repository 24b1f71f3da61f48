-- Take the lease of a view from whoever holds it, so that a rebuild can switch. The holder is fenced from here on.
-- parameters: $1 view text, $2 owner text, $3 lease interval
-- columns: position bigint
-- errors: none
-- locks: the cursor's row, for this statement
UPDATE views.cursors SET owner = $2, leased_until = clock_timestamp() + $3::interval WHERE view = $1
RETURNING position
