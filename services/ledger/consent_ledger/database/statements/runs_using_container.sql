-- The next runs that used data of anybody with an ordinal in a container, in the order of their registration: of dense rows only those that have it, of others the bits. The container -1 is that of runs whose set cannot be read.
-- parameters: $1 container bigint, $2 low integer, $3 purpose text, $4 after bigint, $5 rows_max bigint
-- columns: position bigint, packed bytea, bits bytea
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
WITH using_it AS MATERIALIZED (
    -- By the container first, whatever is asked beside: a plan without knowing the values looks at each run.
    SELECT run, CASE WHEN dense OR container = -1 THEN NULL ELSE bits END AS bits FROM views.exposure
    WHERE container IN ($1::bigint, -1)
        AND (NOT dense OR get_bit(substr(bits, $2::integer / 8 + 1, 1), $2::integer % 8) = 1)
)
SELECT known.position, known.packed, using_it.bits
FROM using_it JOIN views.runs AS known USING (run)
WHERE known.position > $4::bigint AND ($3::text = '' OR known.purpose = $3::text)
ORDER BY known.position LIMIT $5::bigint
