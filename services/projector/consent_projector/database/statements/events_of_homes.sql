-- All events up to a position that fold into some workspaces and organisations, by their streams, and into the book if it is asked for; in order. '0' follows '/' in C order.
-- parameters: $1 streams text[], $2 book boolean, $3 upto bigint
-- columns: position bigint, stream text, body bytea, leaf_hash bytea
-- errors: none
-- locks: none
SELECT position, stream, body, leaf_hash FROM ledger.events WHERE stream = ANY ($1::text[]) AND position <= $3::bigint
UNION ALL
SELECT position, stream, body, leaf_hash FROM ledger.events
WHERE ((stream >= 'policy/' AND stream < 'policy0')
    OR (stream >= 'purpose/' AND stream < 'purpose0')
    OR (stream >= 'log/' AND stream < 'log0'))
    AND $2::boolean AND position <= $3::bigint
ORDER BY position
