-- The workspaces that were enrolled at some positions, with the facts of the projector's view, all of one instant. An ordinal that is no enrolment has no name; without the view's own history there is no row at all.
-- parameters: $1 ordinals bigint[]
-- columns: ordinal bigint, workspace text, changed bigint, facts bytea, through bigint
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT asked.ordinal, substr(enrolled.stream, 11) AS workspace, known.position AS changed, known.facts,
    cursor.position AS through
FROM views.cursors AS cursor
CROSS JOIN unnest($1::bigint[]) AS asked (ordinal)
LEFT JOIN LATERAL (
    SELECT stream FROM ledger.events AS e
    WHERE e.position = asked.ordinal AND starts_with(e.stream, 'workspace/') AND e.version = 1 OFFSET 0
) AS enrolled ON true
LEFT JOIN LATERAL (
    SELECT position, facts FROM views.facts AS f
    WHERE f.kind = 'workspace' AND f.id = substr(enrolled.stream, 11) OFFSET 0
) AS known ON true
WHERE cursor.view = 'facts' AND views.is_of_ledger(cursor) AND NOT views.is_disputed(cursor)
