-- Make the table of what was cosigned: a row for each of the newest trees of a log.
-- parameters: none
-- columns: none
-- errors: table cosigned already exists
-- locks: the file, for writing
CREATE TABLE cosigned (
    log TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    note BLOB NOT NULL,
    PRIMARY KEY (log, size)
) STRICT, WITHOUT ROWID
