-- The next looks at sealed fields after a number, in order.
-- parameters: $1 after bigint, $2 rows_max bigint
-- columns: number bigint, position bigint, principal text, reason text, at timestamptz
-- errors: none
-- locks: none
SELECT number, position, principal, reason, at FROM ledger.unsealings
WHERE number > $1::bigint ORDER BY number LIMIT $2::bigint
