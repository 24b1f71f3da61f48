-- All facts, by kind and by the bytes of ids.
-- parameters: none
-- columns: kind text, id text, position bigint, facts bytea
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT kind, id, position, facts FROM views.facts ORDER BY kind, id
