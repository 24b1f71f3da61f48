-- Make the table of the one row that says through which event the log's erasures are applied.
-- parameters: none
-- columns: none
-- errors: none
-- locks: the file, held already by begin
CREATE TABLE IF NOT EXISTS applied (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    position INTEGER NOT NULL,
    event_id TEXT NOT NULL
) STRICT
