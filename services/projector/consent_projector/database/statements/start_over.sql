-- Empty a view that was folded from a history which the ledger has not any more, and let it begin again.
-- parameters: $1 view text, $2 owner text
-- columns: position bigint, generation integer (no row if the lease is another's, or the view is the ledger's)
-- errors: lock_not_available after the lock timeout
-- locks: the view's table ACCESS EXCLUSIVE, then its cursor: nobody reads half a view
SELECT position, generation FROM views.start_over($1, $2)
