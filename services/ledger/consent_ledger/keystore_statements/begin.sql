-- Begin a transaction that will write.
-- parameters: none
-- columns: none
-- errors: database is locked, after the connection's timeout
-- locks: the file, for writing: of several processes one goes on and the others wait, before they look for a key
BEGIN IMMEDIATE
