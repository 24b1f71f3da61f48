-- The first workspace whose stream has this number or a higher one.
-- parameters: ?1 id integer
-- columns: stream text
-- errors: none
-- locks: none
SELECT stream FROM streams WHERE id >= ?1 AND stream LIKE 'workspace/%' ORDER BY id LIMIT 1
