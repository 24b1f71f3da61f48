-- Remember by which master key this store is wrapped.
-- parameters: ?1 wrapped blob
-- columns: none
-- errors: UNIQUE constraint, if one is remembered
-- locks: the file, held already by begin
INSERT INTO master_check (only, wrapped) VALUES (1, ?1)
