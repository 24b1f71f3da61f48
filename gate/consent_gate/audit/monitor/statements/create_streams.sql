-- Make the table of streams, each folded up to the position that was followed.
-- parameters: none
-- columns: none
-- errors: table streams already exists
-- locks: the file, for writing
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    stream TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    facts BLOB,
    requests BLOB NOT NULL
) STRICT
