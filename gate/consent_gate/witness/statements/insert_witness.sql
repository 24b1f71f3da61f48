-- Write whose state this is, once.
-- parameters: ?1 verifier_key text
-- columns: none
-- errors: UNIQUE constraint failed, if it is somebody's
-- locks: the file, for writing
INSERT INTO witness (id, verifier_key) VALUES (1, ?1)
