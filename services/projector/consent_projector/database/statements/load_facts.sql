-- The facts that exist of some homes. LATERAL with LIMIT keeps to the index, also with a plan made when the table was small.
-- parameters: $1 kinds text[], $2 ids text[] (same length)
-- columns: kind text, id text, position bigint, facts bytea
-- errors: none
-- locks: none
SELECT known.kind, known.id, known.position, known.facts
FROM unnest($1::text[], $2::text[]) AS asked (kind, id)
CROSS JOIN LATERAL (
    SELECT kind, id, position, facts FROM views.facts AS f WHERE f.kind = asked.kind AND f.id = asked.id LIMIT 1
) AS known
