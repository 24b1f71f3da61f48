-- The next rows of the facts by their key, and up to where they were folded, all of one instant. One row without a kind where there are none after the key; no row at all while the view is not of this ledger's history.
-- parameters: $1 kind text, $2 id text, $3 rows_max bigint
-- columns: through bigint, generation integer, disputed boolean, kind text, id text, position bigint, facts bytea
-- errors: none
-- locks: none
SELECT cursor.position AS through, cursor.generation, views.is_disputed(cursor) AS disputed, known.kind, known.id, known.position, known.facts
FROM views.cursors AS cursor
LEFT JOIN LATERAL (
    SELECT kind, id, position, facts FROM views.facts WHERE (kind, id) > ($1::text, $2::text)
    ORDER BY kind, id LIMIT $3::bigint
) AS known ON true
WHERE cursor.view = 'facts' AND views.is_of_ledger(cursor)
