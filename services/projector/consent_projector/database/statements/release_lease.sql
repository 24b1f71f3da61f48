-- Give the lease of a view back, if it is held.
-- parameters: $1 view text, $2 owner text
-- columns: none
-- errors: none
-- locks: the cursor's row, for this statement
UPDATE views.cursors SET owner = '', leased_until = '-infinity' WHERE view = $1 AND owner = $2
