-- How many events some streams have; those without any are left out.
-- parameters: $1 streams text[] (each once)
-- columns: stream text, version integer
-- errors: none
-- locks: none
SELECT asked.stream, newest.version
FROM unnest($1::text[]) AS asked (stream)
CROSS JOIN LATERAL (
    SELECT e.version FROM ledger.events AS e WHERE e.stream = asked.stream ORDER BY e.version DESC LIMIT 1
) AS newest
