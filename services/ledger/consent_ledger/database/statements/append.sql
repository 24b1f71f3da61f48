-- Append a batch: events, idempotency keys and the head together, or nothing (no row) if the head is elsewhere. Positions are counted here, so that no gap can be written.
-- parameters: $1 expected bigint, $2 streams text[], $3 versions integer[], $4 ids uuid[], $5 types text[], $6 recorded_at timestamptz[], $7 bodies bytea[], $8 leaf_hashes bytea[], $9 keys text[], $10 principals text[], $11 body_hashes bytea[], $12 first_positions bigint[], $13 last_positions bigint[], $14 outcomes bytea[], $15 head_recorded_at timestamptz, $16 range bytea
-- columns: position bigint
-- errors: unique_violation for a version or key that exists, check_violation, not_null_violation if the arrays differ in length
-- locks: the head row, held already by lock_head
WITH moved AS (
    UPDATE ledger.head SET position = position + cardinality($2::text[]), recorded_at = $15::timestamptz, range = $16::bytea
    WHERE position = $1::bigint
    RETURNING position
), added AS (
    INSERT INTO ledger.events (position, stream, version, id, type, recorded_at, body, leaf_hash)
    SELECT $1::bigint + ordinality, stream, version, id, type, recorded_at, body, leaf_hash
    FROM moved, unnest($2::text[], $3::integer[], $4::uuid[], $5::text[], $6::timestamptz[], $7::bytea[], $8::bytea[])
        WITH ORDINALITY AS event (stream, version, id, type, recorded_at, body, leaf_hash, ordinality)
), remembered AS (
    INSERT INTO ledger.idempotency (key, principal, body_hash, first_position, last_position, outcome, recorded_at)
    SELECT key, principal, body_hash, first_position, last_position, outcome, $15::timestamptz
    FROM moved, unnest($9::text[], $10::text[], $11::bytea[], $12::bigint[], $13::bigint[], $14::bytea[])
        AS command (key, principal, body_hash, first_position, last_position, outcome)
)
SELECT position FROM moved
