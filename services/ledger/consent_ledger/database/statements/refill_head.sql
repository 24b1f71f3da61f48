-- Move the head behind what was put back, into the epoch that it is of, if it stands where expected and the last row is where it will stand.
-- parameters: $1 expected bigint, $2 origin text, $3 epoch integer, $4 position bigint, $5 recorded_at timestamptz, $6 range bytea
-- columns: position bigint (no row if the head or the last event is elsewhere)
-- errors: check_violation if the range does not fit the position, insufficient_privilege for another origin or an earlier epoch
-- locks: the head row, held already by lock_head
UPDATE ledger.head
SET origin = $2::text, epoch = $3::integer, position = $4::bigint, recorded_at = $5::timestamptz, range = $6::bytea
WHERE position = $1::bigint AND $4::bigint = (SELECT coalesce(max(position), 0) FROM ledger.events)
RETURNING position
