-- Make a commit durable before it returns, the removal of its journal included (FULL leaves that out).
-- parameters: none
-- columns: none
-- errors: none
-- locks: none
PRAGMA synchronous = EXTRA
