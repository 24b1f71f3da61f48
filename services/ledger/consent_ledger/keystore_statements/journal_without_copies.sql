-- Keep no write-ahead log: it would hold copies of keys after they were destroyed.
-- parameters: none
-- columns: journal_mode text
-- errors: database is locked, if another process holds the file while the mode changes
-- locks: none, unless the mode changes
PRAGMA journal_mode = DELETE
