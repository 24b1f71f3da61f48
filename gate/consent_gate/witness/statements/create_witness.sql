-- Make the table of whose state this is: one row, the witness's verifier key.
-- parameters: none
-- columns: none
-- errors: table witness already exists
-- locks: the file, for writing
CREATE TABLE witness (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    verifier_key TEXT NOT NULL
) STRICT
