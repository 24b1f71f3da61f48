-- Make the schema and the table that remembers which files were applied. {schema} is put in by the migrator.
-- parameters: none
-- columns: none
-- errors: insufficient_privilege if the role may not create schemas
-- locks: none that another migrator would wait for; it runs under the advisory lock
DO $$
BEGIN
    CREATE SCHEMA IF NOT EXISTS {schema};
    CREATE TABLE IF NOT EXISTS {schema}.migrations (
        number     integer     PRIMARY KEY,
        name       text        NOT NULL,
        sha256     bytea       NOT NULL CHECK (octet_length(sha256) = 32),
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
END
$$
