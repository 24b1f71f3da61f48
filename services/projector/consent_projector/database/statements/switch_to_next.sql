-- Let the next generation take the live one's place.
-- parameters: $1 view text, $2 owner text
-- columns: switched boolean (false if the lease of either is another's, or the next one is behind)
-- errors: lock_not_available after the lock timeout, undefined_table if there is no next generation
-- locks: both tables ACCESS EXCLUSIVE, then both cursors: nobody reads or writes a half-switched view
SELECT views.switch_to_next($1, $2) AS switched
