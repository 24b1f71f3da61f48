-- Make the table of the newest checkpoint of each log, an epoch each.
-- parameters: none
-- columns: none
-- errors: table checkpoints already exists
-- locks: the file, for writing
CREATE TABLE checkpoints (
    log TEXT PRIMARY KEY,
    note BLOB NOT NULL
) STRICT, WITHOUT ROWID
