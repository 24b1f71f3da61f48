-- The next recipients by name, with the last event of each. '0' follows '/' in C order.
-- parameters: $1 after text (the stream's name, or 'recipient/'), $2 rows_max bigint
-- columns: stream text, recorded_at timestamptz, body bytea
-- errors: none
-- locks: none
SELECT began.stream, last.recorded_at, last.body FROM ledger.events AS began
CROSS JOIN LATERAL (
    SELECT recorded_at, body FROM ledger.events AS e WHERE e.stream = began.stream ORDER BY e.version DESC LIMIT 1
) AS last
WHERE began.stream > $1::text AND began.stream < 'recipient0' AND began.version = 1
ORDER BY began.stream LIMIT $2::bigint
