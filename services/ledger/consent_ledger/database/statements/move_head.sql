-- Move the head after a COPY, if it stands where expected and the last row is where it will stand.
-- parameters: $1 expected bigint, $2 position bigint, $3 recorded_at timestamptz, $4 range bytea
-- columns: position bigint (no row if the head or the last event is elsewhere)
-- errors: check_violation if the range does not fit the position
-- locks: the head row, held already by lock_head
UPDATE ledger.head SET position = $2::bigint, recorded_at = $3::timestamptz, range = $4::bytea
WHERE position = $1::bigint AND $2::bigint = (SELECT max(position) FROM ledger.events)
RETURNING position
