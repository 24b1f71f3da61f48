-- Some runs.
-- parameters: $1 runs text[]
-- columns: run text, packed bytea
-- errors: none
-- locks: none
SELECT run, packed FROM views.runs WHERE run = ANY ($1::text[])
