-- Make the list of erasures, as the log recorded them: a key store or a log that is restored finds in the other what it forgot.
-- parameters: none
-- columns: none
-- errors: none
-- locks: the file, held already by begin
CREATE TABLE IF NOT EXISTS erasures (
    number INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,
    position INTEGER NOT NULL,
    person TEXT,
    stream TEXT,
    event BLOB NOT NULL,
    CHECK ((person IS NULL) <> (stream IS NULL))
) STRICT
