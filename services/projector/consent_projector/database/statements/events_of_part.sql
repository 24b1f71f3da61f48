-- All events up to a position of one part of the streams, in order. What folds into the book is all in part 0.
-- parameters: $1 upto bigint, $2 parts integer, $3 part integer
-- columns: position bigint, stream text, body bytea
-- errors: none
-- locks: none
SELECT position, stream, body FROM ledger.events
WHERE position <= $1::bigint AND $3::integer =
    CASE WHEN starts_with(stream, 'workspace/') OR starts_with(stream, 'organisation/')
        THEN (hashtext(stream) & 2147483647) % $2::integer ELSE 0 END
ORDER BY position
