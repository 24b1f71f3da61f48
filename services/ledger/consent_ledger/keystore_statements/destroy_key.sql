-- Destroy a key; its id stays, so that readers can tell erased from lost. A key that this store never had, or has forgotten, is noted as destroyed.
-- parameters: ?1 key_id text
-- columns: none
-- errors: none
-- locks: the file, held already by begin
INSERT INTO keys (key_id) VALUES (?1) ON CONFLICT (key_id) DO UPDATE SET stream = NULL, person = NULL, wrapped = NULL
