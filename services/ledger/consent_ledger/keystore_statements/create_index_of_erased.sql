-- Find out whether a person or a stream was erased.
-- parameters: none
-- columns: none
-- errors: none
-- locks: the file, held already by begin
CREATE INDEX IF NOT EXISTS erasures_of ON erasures (stream, person)
