-- Make the table that tells one master key from another.
-- parameters: none
-- columns: none
-- errors: none
-- locks: the file, held already by begin
CREATE TABLE IF NOT EXISTS master_check (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    wrapped BLOB NOT NULL
) STRICT
