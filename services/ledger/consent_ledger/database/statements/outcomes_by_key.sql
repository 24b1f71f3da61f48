-- The recorded outcomes of idempotency keys, those that exist. LATERAL with LIMIT keeps to the index: a plan made while the table was small must not read the whole of it later.
-- parameters: $1 keys text[], $2 principals text[] (same length)
-- columns: key text, principal text, body_hash bytea, outcome bytea
-- errors: none
-- locks: none; read it under the lock of the head
SELECT asked.key, asked.principal, known.body_hash, known.outcome
FROM unnest($1::text[], $2::text[]) AS asked (key, principal)
CROSS JOIN LATERAL (
    SELECT body_hash, outcome FROM ledger.idempotency AS i
    WHERE i.principal = asked.principal AND i.key = asked.key LIMIT 1
) AS known
