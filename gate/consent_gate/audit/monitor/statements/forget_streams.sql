-- Forget all that was folded, to fold it again in a new epoch.
-- parameters: none
-- columns: none
-- errors: none
-- locks: the file, for writing, from the transaction's begin
DELETE FROM streams
