-- The key of a person, if there is one.
-- parameters: ?1 person blob
-- columns: key_id text, wrapped blob
-- errors: none
-- locks: none
SELECT key_id, wrapped FROM keys WHERE person = ?1
