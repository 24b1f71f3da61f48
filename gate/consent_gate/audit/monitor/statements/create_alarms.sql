-- Make the table of alarms: what was found, and whether the webhook was told.
-- parameters: none
-- columns: none
-- errors: table alarms already exists
-- locks: the file, for writing
CREATE TABLE alarms (
    key TEXT PRIMARY KEY,
    alarm BLOB NOT NULL,
    first_at_seconds INTEGER NOT NULL,
    told INTEGER NOT NULL CHECK (told IN (0, 1))
) STRICT, WITHOUT ROWID
