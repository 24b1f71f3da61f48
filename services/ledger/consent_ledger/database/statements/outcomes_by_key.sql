-- The recorded outcomes of idempotency keys, those that exist.
-- parameters: $1 keys text[], $2 principals text[] (same length)
-- columns: key text, principal text, body_hash bytea, first_position bigint, last_position bigint, outcome bytea
-- errors: none
-- locks: none; read it under the lock of the head
SELECT key, principal, body_hash, first_position, last_position, outcome
FROM unnest($1::text[], $2::text[]) AS asked (key, principal) JOIN ledger.idempotency USING (principal, key)
