-- Read the whole file and compare its parts.
-- parameters: none
-- columns: found text, `ok` if nothing is wrong
-- errors: file is not a database; database disk image is malformed
-- locks: none
PRAGMA integrity_check(1)
