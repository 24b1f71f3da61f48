-- Remember through which event the log's erasures are applied.
-- parameters: ?1 position integer, ?2 event_id text
-- columns: none
-- errors: none
-- locks: the file, held already by begin
INSERT INTO applied (only, position, event_id) VALUES (1, ?1, ?2)
ON CONFLICT (only) DO UPDATE SET position = ?1, event_id = ?2
