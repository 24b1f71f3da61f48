-- Make the table of what was signed: one row a log, the largest tree.
-- parameters: none
-- columns: none
-- errors: database is locked, after the connection's timeout
-- locks: the file, if the table is not there yet
CREATE TABLE IF NOT EXISTS signed (
    begun INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    at_micros INTEGER NOT NULL
) STRICT
