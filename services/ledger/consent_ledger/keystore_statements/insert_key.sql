-- Add the key of a person who has none.
-- parameters: ?1 key_id text, ?2 person blob, ?3 wrapped blob
-- columns: none
-- errors: UNIQUE constraint, if the person has a key
-- locks: the file, held already by begin
INSERT INTO keys (key_id, person, wrapped) VALUES (?1, ?2, ?3)
