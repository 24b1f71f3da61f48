-- Add to counts and move the cursor, both or neither: the cursor's fence is what makes adding safe.
-- parameters: $1 view text, $2 owner text, $3 generation integer, $4 after bigint, $5 upto bigint, $6 lease interval, $7 hashes bytea[], $8 days date[], $9 types text[], $10 events bigint[], $11 positions bigint[]
-- columns: position bigint (no row, and nothing is written, if the lease, the position or a hash is another's)
-- errors: none
-- locks: the cursor's row, then the rows, for this statement
WITH moved AS MATERIALIZED (
    SELECT position FROM views.move_cursor($1, $2, $3, $4, $5, $6, $7) AS moved (position)
), written AS (
    INSERT INTO views.counts AS counted (day, type, events, position)
    SELECT added.* FROM moved, unnest($8::date[], $9::text[], $10::bigint[], $11::bigint[]) AS added
    ON CONFLICT (day, type) DO UPDATE SET
        events = counted.events + excluded.events, position = excluded.position
)
SELECT position FROM moved
