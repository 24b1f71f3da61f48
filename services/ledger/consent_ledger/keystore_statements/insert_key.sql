-- Add the key of a person on a stream where there is none.
-- parameters: ?1 key_id text, ?2 stream text, ?3 person blob, ?4 wrapped blob
-- columns: none
-- errors: UNIQUE constraint, if the person has a key on the stream
-- locks: the file, held already by begin
INSERT INTO keys (key_id, stream, person, wrapped) VALUES (?1, ?2, ?3, ?4)
