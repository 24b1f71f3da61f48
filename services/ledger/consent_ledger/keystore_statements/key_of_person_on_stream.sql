-- The key of a person on a stream, if there is one.
-- parameters: ?1 person blob, ?2 stream text
-- columns: key_id text, wrapped blob
-- errors: none
-- locks: none
SELECT key_id, wrapped FROM keys WHERE person = ?1 AND stream = ?2
