-- Write that nothing was followed yet, once.
-- parameters: ?1 keys blob, ?2 book blob
-- columns: none
-- errors: UNIQUE constraint failed, if it is written
-- locks: the file, for writing, from the transaction's begin
INSERT INTO followed (id, origin, log, position, keys, book) VALUES (1, '', '', 0, ?1, ?2)
