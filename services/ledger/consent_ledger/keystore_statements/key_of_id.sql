-- The key of an id; without the wrapped key if it was destroyed.
-- parameters: ?1 key_id text
-- columns: stream text, person blob, wrapped blob
-- errors: none
-- locks: none
SELECT stream, person, wrapped FROM keys WHERE key_id = ?1
