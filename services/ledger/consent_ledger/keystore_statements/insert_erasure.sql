-- Note an erasure that is applied. One that is noted already stays as it is.
-- parameters: ?1 event_id text, ?2 epoch integer, ?3 position integer, ?4 person text, ?5 stream text, ?6 event blob
-- columns: none
-- errors: none
-- locks: the file, held already by begin
INSERT INTO erasures (event_id, epoch, position, person, stream, event) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (event_id) DO NOTHING
