-- When a person was erased.
-- parameters: ?1 person text
-- columns: position integer
-- errors: none
-- locks: none
SELECT position FROM erasures WHERE stream IS NULL AND person = ?1 ORDER BY number
