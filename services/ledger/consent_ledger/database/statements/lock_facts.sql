-- Keep the view of facts from being switched to its next generation until the transaction ends. Comes before anything is read, so that what is seen is all of the table that has its name.
-- parameters: none
-- columns: none
-- errors: undefined_table before the projector's migrations were applied
-- locks: views.facts ACCESS SHARE, so that a switch waits
LOCK TABLE views.facts IN ACCESS SHARE MODE
