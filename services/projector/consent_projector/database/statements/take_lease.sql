-- Take the lease of a view, or renew it. By the database's clock alone: no host's clock can extend it.
-- parameters: $1 view text, $2 owner text, $3 lease interval
-- columns: position bigint, generation integer, is_of_ledger boolean (no row while another owner holds it)
-- errors: none
-- locks: the cursor's row, for this statement
UPDATE views.cursors SET owner = $2, leased_until = clock_timestamp() + $3::interval
WHERE view = $1 AND (owner = $2 OR leased_until < clock_timestamp())
RETURNING position, generation, views.is_of_ledger(cursors) AS is_of_ledger
