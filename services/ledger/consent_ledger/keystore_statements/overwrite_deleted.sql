-- Make SQLite overwrite what is deleted with zeros, so that a destroyed key is not left in a free page.
-- parameters: none
-- columns: secure_delete integer
-- errors: none
-- locks: none
PRAGMA secure_delete = ON
