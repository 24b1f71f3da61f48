-- Begin a transaction; each statement sees what was committed before it began, so what is read under the head's lock is complete.
-- parameters: none
-- columns: none
-- errors: none
-- locks: none yet
BEGIN ISOLATION LEVEL READ COMMITTED
