-- Whose state this is.
-- parameters: none
-- columns: verifier_key text
-- errors: none
-- locks: none
SELECT verifier_key FROM witness
