-- Write how far the log was followed.
-- parameters: ?1 origin text, ?2 log text, ?3 position integer, ?4 keys blob, ?5 book blob
-- columns: none
-- errors: none
-- locks: the file, for writing, from the transaction's begin
UPDATE followed SET origin = ?1, log = ?2, position = ?3, keys = ?4, book = ?5
