-- Keep a stream as it is folded now.
-- parameters: ?1 stream text, ?2 version integer, ?3 position integer, ?4 facts blob, ?5 requests blob
-- columns: none
-- errors: none
-- locks: the file, for writing, from the transaction's begin
INSERT INTO streams (stream, version, position, facts, requests) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (stream) DO UPDATE
SET version = excluded.version, position = excluded.position, facts = excluded.facts, requests = excluded.requests
