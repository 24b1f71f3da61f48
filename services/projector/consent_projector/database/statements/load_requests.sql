-- The requests of some streams. LATERAL with OFFSET keeps to the index, also with a plan made when the table was small.
-- parameters: $1 streams text[]
-- columns: request bytea
-- errors: none
-- locks: none
SELECT known.request
FROM unnest($1::text[]) AS asked (stream)
CROSS JOIN LATERAL (SELECT request FROM views.requests AS r WHERE r.stream = asked.stream OFFSET 0) AS known
