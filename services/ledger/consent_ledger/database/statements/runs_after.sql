-- The next runs in the order of their registration, of the projector's view. An empty purpose asks for any.
-- parameters: $1 purpose text, $2 after bigint, $3 rows_max bigint
-- columns: position bigint, packed bytea
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT position, packed FROM views.runs
WHERE position > $2::bigint AND ($1::text = '' OR purpose = $1::text) ORDER BY position LIMIT $3::bigint
