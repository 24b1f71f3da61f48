-- The next requests in the order in which they began, of the projector's view. An empty text or null asks for any.
-- parameters: $1 state text, $2 only_open boolean, $3 due_before timestamptz, $4 scope_kind text, $5 scope_id text, $6 after text, $7 rows_max bigint
-- columns: id text, request bytea
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT id, request FROM views.requests
WHERE ($1::text = '' OR state = $1::text)
    AND (NOT $2::boolean OR is_open)
    AND ($3::timestamptz IS NULL OR (is_open AND due_at < $3::timestamptz))
    AND ($4::text = '' OR (scope_kind = $4::text AND scope_id = $5::text))
    AND id > $6::text
ORDER BY id LIMIT $7::bigint
