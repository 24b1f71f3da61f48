-- Throw the next generation away, if the owner still builds it.
-- parameters: $1 view text, $2 owner text
-- columns: drop_next text
-- errors: none
-- locks: the next generation's table ACCESS EXCLUSIVE
SELECT views.drop_next($1, $2)::text
