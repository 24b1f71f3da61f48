-- Write whose data runs used and move the cursor, both or neither.
-- parameters: $1 view text, $2 owner text, $3 generation integer, $4 after bigint, $5 upto bigint, $6 lease interval, $7 hashes bytea[], $8 containers bigint[], $9 runs text[], $10 positions bigint[], $11 dense boolean[], $12 bits bytea[]
-- columns: position bigint (no row, and nothing is written, if the lease, the position or a hash is another's)
-- errors: none
-- locks: the cursor's row, then the rows, for this statement
WITH moved AS MATERIALIZED (
    SELECT position FROM views.move_cursor($1, $2, $3, $4, $5, $6, $7) AS moved (position)
), written AS (
    INSERT INTO views.exposure (container, run, position, dense, bits)
    SELECT given.* FROM moved, unnest(
        $8::bigint[], $9::text[], $10::bigint[], $11::boolean[], $12::bytea[]
    ) AS given
    ON CONFLICT (container, run) DO UPDATE SET position = excluded.position, dense = excluded.dense, bits = excluded.bits
)
SELECT position FROM moved
