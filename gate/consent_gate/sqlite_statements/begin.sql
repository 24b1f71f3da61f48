-- Begin a transaction in which nobody else writes: what is read in it stays true until its end.
-- parameters: none
-- columns: none
-- errors: database is locked, after the connection's timeout
-- locks: the file, for writing
BEGIN IMMEDIATE
