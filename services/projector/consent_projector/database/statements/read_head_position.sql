-- The position of the ledger's head.
-- parameters: none
-- columns: position bigint
-- errors: none
-- locks: none
SELECT position FROM ledger.head
