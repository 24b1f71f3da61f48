-- Make the table of what logs signed and did not fit: both signed checkpoints, and the request.
-- parameters: none
-- columns: none
-- errors: table evidence already exists
-- locks: the file, for writing
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY,
    log TEXT NOT NULL,
    alarm TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL CHECK (length(root) = 32),
    cosigned BLOB NOT NULL,
    submitted BLOB NOT NULL,
    at_seconds INTEGER NOT NULL,
    UNIQUE (log, alarm, size, root)
) STRICT
