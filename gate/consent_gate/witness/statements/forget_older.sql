-- Forget the trees of a log but for the newest ones, of which there are ?2.
-- parameters: ?1 log text, ?2 kept integer
-- columns: none
-- errors: none
-- locks: the file, for writing, from the transaction's begin
DELETE FROM cosigned
WHERE log = ?1 AND size < (SELECT size FROM cosigned WHERE log = ?1 ORDER BY size DESC LIMIT 1 OFFSET ?2 - 1)
