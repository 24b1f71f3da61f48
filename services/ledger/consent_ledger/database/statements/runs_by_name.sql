-- Some runs by their names.
-- parameters: $1 runs text[]
-- columns: packed bytea
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT packed FROM views.runs WHERE run = ANY ($1::text[]) ORDER BY position
