-- Make the table of keys, a row a key. A destroyed key keeps its id alone. Numbers only grow, so that no wrapped key is ever moved and leaves a copy.
-- parameters: none
-- columns: none
-- errors: none
-- locks: the file, held already by begin
CREATE TABLE IF NOT EXISTS keys (
    number INTEGER PRIMARY KEY,
    key_id TEXT NOT NULL UNIQUE,
    person BLOB UNIQUE,
    wrapped BLOB,
    CHECK ((person IS NULL) = (wrapped IS NULL))
) STRICT
