-- The next organisations by id: the first event of each. '0' follows '/' in C order.
-- parameters: $1 after text (the stream's name, or 'organisation/'), $2 rows_max bigint
-- columns: stream text, position bigint, recorded_at timestamptz
-- errors: none
-- locks: none
SELECT stream, position, recorded_at FROM ledger.events
WHERE stream > $1::text AND stream < 'organisation0' AND version = 1 ORDER BY stream LIMIT $2::bigint
