-- The next facts of one kind that changed after a position, in order.
-- parameters: $1 kind text, $2 after bigint, $3 rows_max bigint
-- columns: position bigint, id text, facts bytea
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT position, id, facts FROM views.facts
WHERE position > $2::bigint AND kind = $1::text ORDER BY position LIMIT $3::bigint
