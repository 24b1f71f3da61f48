-- Make the table of how far the log was followed: one row.
-- parameters: none
-- columns: none
-- errors: table followed already exists
-- locks: the file, for writing
CREATE TABLE followed (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    log TEXT NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),
    keys BLOB NOT NULL,
    book BLOB NOT NULL
) STRICT
