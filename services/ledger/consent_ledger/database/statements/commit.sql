-- Commit. Its fate is unknown until it is answered, so nothing may cancel it.
-- parameters: none
-- columns: none
-- errors: none
-- locks: releases those of the transaction
COMMIT
