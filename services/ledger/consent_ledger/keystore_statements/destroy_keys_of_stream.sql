-- Destroy every key of a stream; their ids stay.
-- parameters: ?1 stream text
-- columns: none
-- errors: none
-- locks: the file, held already by begin
UPDATE keys SET stream = NULL, person = NULL, wrapped = NULL WHERE stream = ?1
