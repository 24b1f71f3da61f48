-- Keep the deadline of an open request.
-- parameters: ?1 stream text, ?2 request text, ?3 due_at_micros integer, ?4 position integer
-- columns: none
-- errors: none
-- locks: the file, for writing, from the transaction's begin
INSERT INTO deadlines (stream, request, due_at_micros, position) VALUES (?1, ?2, ?3, ?4)
