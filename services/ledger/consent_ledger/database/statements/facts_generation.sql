-- Which generation the view of the facts is of (another one is folded anew, from the first event on), and whether its rows and events were found not to fit.
-- parameters: none
-- columns: generation integer, disputed boolean
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT generation, views.is_disputed(cursor) AS disputed FROM views.cursors AS cursor WHERE view = 'facts'
