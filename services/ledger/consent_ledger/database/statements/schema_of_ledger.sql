-- The migrations that made the schema, in order.
-- parameters: none
-- columns: name text, sha256 bytea
-- errors: undefined_table before the first
-- locks: none
SELECT name, sha256 FROM ledger.migrations ORDER BY number
