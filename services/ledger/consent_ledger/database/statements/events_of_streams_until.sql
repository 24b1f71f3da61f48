-- The events of some streams up to a position, those of a stream in order. LATERAL with OFFSET keeps to the index, as in outcomes_by_key.
-- parameters: $1 streams text[] (each once), $2 until bigint
-- columns: position bigint, stream text, version integer, body bytea
-- errors: none
-- locks: none
SELECT past.position, past.stream, past.version, past.body
FROM unnest($1::text[]) AS asked (stream)
CROSS JOIN LATERAL (
    SELECT e.position, e.stream, e.version, e.body FROM ledger.events AS e
    WHERE e.stream = asked.stream AND e.position <= $2::bigint ORDER BY e.version OFFSET 0
) AS past
