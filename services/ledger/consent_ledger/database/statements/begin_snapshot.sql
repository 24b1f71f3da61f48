-- Begin a transaction that sees one instant of the database from its first statement to its end, and changes nothing.
-- parameters: none
-- columns: none
-- errors: none
-- locks: none
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY
