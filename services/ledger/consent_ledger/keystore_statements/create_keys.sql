-- Make the table of keys, a row a key: one for each person on each stream. A destroyed key keeps its id alone. Numbers only grow, so that no wrapped key is ever moved and leaves a copy.
-- parameters: none
-- columns: none
-- errors: none
-- locks: the file, held already by begin
CREATE TABLE IF NOT EXISTS keys (
    number INTEGER PRIMARY KEY,
    key_id TEXT NOT NULL UNIQUE,
    stream TEXT,
    person BLOB,
    wrapped BLOB,
    UNIQUE (person, stream),
    CHECK ((person IS NULL) = (wrapped IS NULL) AND (stream IS NULL) = (wrapped IS NULL))
) STRICT
