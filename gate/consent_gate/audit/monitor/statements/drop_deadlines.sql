-- Forget the deadlines of a stream, before those that it has now are kept.
-- parameters: ?1 stream text
-- columns: none
-- errors: none
-- locks: the file, for writing, from the transaction's begin
DELETE FROM deadlines WHERE stream = ?1
