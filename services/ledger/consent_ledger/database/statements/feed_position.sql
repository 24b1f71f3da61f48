-- How far the view of facts is.
-- parameters: none
-- columns: position bigint
-- errors: none
-- locks: none
SELECT position FROM views.cursors WHERE view = 'facts'
