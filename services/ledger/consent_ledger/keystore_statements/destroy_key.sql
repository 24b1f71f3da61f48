-- Destroy the key of a person; its id stays, so that readers can tell erased from lost.
-- parameters: ?1 person blob
-- columns: key_id text
-- errors: none
-- locks: the file, held already by begin
UPDATE keys SET person = NULL, wrapped = NULL WHERE person = ?1 RETURNING key_id
