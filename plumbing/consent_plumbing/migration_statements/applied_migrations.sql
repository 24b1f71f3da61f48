-- The migrations that were applied, in order. {schema} is put in by the migrator.
-- parameters: none
-- columns: number integer, name text, sha256 bytea
-- errors: none
-- locks: none
SELECT number, name, sha256 FROM {schema}.migrations ORDER BY number
