-- Make the table of requests for which somebody still has to do something, and until when.
-- parameters: none
-- columns: none
-- errors: table deadlines already exists
-- locks: the file, for writing
CREATE TABLE deadlines (
    stream TEXT NOT NULL,
    request TEXT NOT NULL,
    due_at_micros INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (stream, request)
) STRICT, WITHOUT ROWID
