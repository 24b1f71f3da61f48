-- A stream as it was folded.
-- parameters: ?1 stream text
-- columns: version integer, position integer, facts blob, requests blob
-- errors: none
-- locks: none
SELECT version, position, facts, requests FROM streams WHERE stream = ?1
