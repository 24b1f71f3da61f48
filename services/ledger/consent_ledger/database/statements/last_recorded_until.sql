-- The last position recorded at a time or before, 0 for none. Times rise with positions, so half of what is left is left out at each step.
-- parameters: $1 at timestamptz, $2 last bigint
-- columns: position bigint
-- errors: none
-- locks: none
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, $2::bigint
    UNION ALL
    SELECT CASE WHEN known.recorded_at <= $1::timestamptz THEN known.position ELSE low END,
           CASE WHEN known.recorded_at <= $1::timestamptz THEN high ELSE known.position - 1 END
    FROM search JOIN ledger.events AS known ON known.position = (low + high + 1) / 2
    WHERE low < high
)
SELECT low AS position FROM search WHERE low = high
