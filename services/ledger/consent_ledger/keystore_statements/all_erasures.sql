-- Every erasure that was ever applied here, in the order in which they were.
-- parameters: none
-- columns: epoch integer, position integer, event blob
-- errors: none
-- locks: none
SELECT epoch, position, event FROM erasures ORDER BY number
