-- Forget all deadlines, to fold them again in a new epoch.
-- parameters: none
-- columns: none
-- errors: none
-- locks: the file, for writing, from the transaction's begin
DELETE FROM deadlines
