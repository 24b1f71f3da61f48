-- Keep the next generation from being thrown away until this transaction ends; its lease may be renewed meanwhile.
-- parameters: $1 view text, $2 owner text
-- columns: position bigint (no row if another builds it)
-- errors: none
-- locks: the cursor's row FOR KEY SHARE, until the transaction ends: it bars DELETE, not UPDATE
SELECT position FROM views.cursors WHERE view = $1 AND owner = $2 FOR KEY SHARE
