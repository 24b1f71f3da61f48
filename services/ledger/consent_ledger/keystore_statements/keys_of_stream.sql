-- The keys of everybody on a stream, in the order in which they were made.
-- parameters: ?1 stream text
-- columns: key_id text
-- errors: none
-- locks: none
SELECT key_id FROM keys WHERE stream = ?1 ORDER BY number
