-- Write runs and move the cursor, both or neither.
-- parameters: $1 view text, $2 owner text, $3 generation integer, $4 after bigint, $5 upto bigint, $6 lease interval, $7 hashes bytea[], $8 runs text[], $9 purposes text[], $10 parents text[], $11 positions bigint[], $12 changed bigint[], $13 packed bytea[]
-- columns: position bigint (no row, and nothing is written, if the lease, the position or a hash is another's)
-- errors: none
-- locks: the cursor's row, then the rows, for this statement
WITH moved AS MATERIALIZED (
    SELECT position FROM views.move_cursor($1, $2, $3, $4, $5, $6, $7) AS moved (position)
), written AS (
    INSERT INTO views.runs (run, purpose, parents, position, changed, packed)
    SELECT run, purpose, parents, given.position, changed, packed
    FROM moved, unnest($8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bytea[])
        AS given (run, purpose, parents, position, changed, packed)
    ON CONFLICT (run) DO UPDATE SET changed = excluded.changed, packed = excluded.packed
)
SELECT position FROM moved
