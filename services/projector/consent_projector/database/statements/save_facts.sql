-- Write facts and move the cursor, both or neither.
-- parameters: $1 view text, $2 owner text, $3 generation integer, $4 after bigint, $5 upto bigint, $6 lease interval, $7 hashes bytea[], $8 kinds text[], $9 ids text[], $10 positions bigint[], $11 facts bytea[]
-- columns: position bigint (no row, and nothing is written, if the lease, the position or a hash is another's)
-- errors: none
-- locks: the cursor's row, then the rows, for this statement
WITH moved AS MATERIALIZED (
    SELECT position FROM views.move_cursor($1, $2, $3, $4, $5, $6, $7) AS moved (position)
), written AS (
    INSERT INTO views.facts (kind, id, position, facts)
    SELECT changed.* FROM moved, unnest($8::text[], $9::text[], $10::bigint[], $11::bytea[]) AS changed
    ON CONFLICT (kind, id) DO UPDATE SET position = excluded.position, facts = excluded.facts
)
SELECT position FROM moved
