-- How far the views of runs and of whose data they used have both got; 0 where one is of another history than the ledger's.
-- parameters: none
-- columns: position bigint
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT min(CASE WHEN views.is_of_ledger(cursor) THEN cursor.position ELSE 0 END) AS position
FROM views.cursors AS cursor WHERE cursor.view IN ('runs', 'exposure')
