-- Write requests and move the cursor, both or neither.
-- parameters: $1 view text, $2 owner text, $3 generation integer, $4 after bigint, $5 upto bigint, $6 lease interval, $7 hashes bytea[], $8 ids text[], $9 kinds text[], $10 scope_kinds text[], $11 scope_ids text[], $12 streams text[], $13 states text[], $14 open boolean[], $15 authorities text[], $16 received_at timestamptz[], $17 due_at timestamptz[], $18 processed_at timestamptz[], $19 positions bigint[], $20 requests bytea[]
-- columns: position bigint (no row, and nothing is written, if the lease, the position or a hash is another's)
-- errors: none
-- locks: the cursor's row, then the rows, for this statement
WITH moved AS MATERIALIZED (
    SELECT position FROM views.move_cursor($1, $2, $3, $4, $5, $6, $7) AS moved (position)
), written AS (
    INSERT INTO views.requests (
        id, kind, scope_kind, scope_id, stream, state, is_open, authority,
        received_at, due_at, processed_at, position, request
    )
    SELECT changed.* FROM moved, unnest(
        $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::boolean[], $15::text[],
        $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::bigint[], $20::bytea[]
    ) AS changed
    ON CONFLICT (id) DO UPDATE SET
        state = excluded.state, is_open = excluded.is_open, authority = excluded.authority,
        received_at = excluded.received_at, due_at = excluded.due_at, processed_at = excluded.processed_at,
        position = excluded.position, request = excluded.request
)
SELECT position FROM moved
