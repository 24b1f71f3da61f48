-- The key of an id; without the wrapped key if it was destroyed.
-- parameters: ?1 key_id text
-- columns: person blob, wrapped blob
-- errors: none
-- locks: none
SELECT person, wrapped FROM keys WHERE key_id = ?1
