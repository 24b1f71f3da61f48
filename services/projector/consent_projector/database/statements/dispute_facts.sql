-- Say of the facts that their rows and their events do not fit: nobody reads them any more.
-- parameters: $1 generation integer
-- columns: generation integer (no row if it is another by now, or that was said already)
-- errors: none
-- locks: the cursor's row, for this statement
UPDATE views.cursors SET disputed_generation = $1::integer
WHERE view = 'facts' AND generation = $1::integer AND disputed_generation <> $1::integer
RETURNING generation
