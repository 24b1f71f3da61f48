-- Say of the facts that all their rows and events fit again.
-- parameters: $1 generation integer
-- columns: generation integer (no row if they are not disputed, or it is another generation by now)
-- errors: none
-- locks: the cursor's row, for this statement
UPDATE views.cursors SET disputed_generation = 0
WHERE view = 'facts' AND generation = $1::integer AND disputed_generation = $1::integer
RETURNING generation
