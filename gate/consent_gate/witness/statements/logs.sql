-- The logs of which anything was cosigned.
-- parameters: none
-- columns: log text
-- errors: none
-- locks: none
SELECT DISTINCT log FROM cosigned ORDER BY log
