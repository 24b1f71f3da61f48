-- Give the transaction up.
-- parameters: none
-- columns: none
-- errors: none
-- locks: releases those of the transaction
ROLLBACK
