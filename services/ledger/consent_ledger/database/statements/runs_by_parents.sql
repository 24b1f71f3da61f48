-- The runs that used outputs of some runs.
-- parameters: $1 parents text[]
-- columns: packed bytea
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT packed FROM views.runs WHERE string_to_array(parents, ' ') && $1::text[] ORDER BY position
