-- Whether a stream was erased.
-- parameters: ?1 stream text
-- columns: position integer
-- errors: none
-- locks: none
SELECT position FROM erasures WHERE stream = ?1
