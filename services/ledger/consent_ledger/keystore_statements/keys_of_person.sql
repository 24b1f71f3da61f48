-- The keys of a person, and the stream of each, in the order in which they were made.
-- parameters: ?1 person blob
-- columns: key_id text, stream text
-- errors: none
-- locks: none
SELECT key_id, stream FROM keys WHERE person = ?1 ORDER BY number
