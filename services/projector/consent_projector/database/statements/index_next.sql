-- Give the filled next generation the live one's indexes, and statistics.
-- parameters: $1 view text
-- columns: index_next text
-- errors: unique_violation if the build wrote a row twice
-- locks: the next generation's table
SELECT views.index_next($1)::text
