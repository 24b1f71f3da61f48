-- What the first master key wrapped, if the store was opened before.
-- parameters: none
-- columns: wrapped blob
-- errors: none
-- locks: none
SELECT wrapped FROM master_check
