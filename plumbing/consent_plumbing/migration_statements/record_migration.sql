-- Remember that a migration was applied. {schema} is put in by the migrator.
-- parameters: $1 number integer, $2 name text, $3 sha256 bytea
-- columns: none
-- errors: unique_violation if it was applied before
-- locks: none
INSERT INTO {schema}.migrations (number, name, sha256) VALUES ($1, $2, $3)
