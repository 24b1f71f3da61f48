-- How many rows of the next generation differ from the live one, of those that both could know alike: rows that
-- changed after the position of the one that is behind are left out.
-- parameters: none
-- columns: differences bigint
-- errors: undefined_table if no next generation is being built
-- locks: none
SELECT count(*) AS differences
FROM (SELECT min(position) AS upto FROM views.cursors WHERE view IN ('exposure', 'exposure_next')) AS both_know,
    views.exposure AS live FULL JOIN views.exposure_next AS following USING (container, run)
WHERE coalesce(live.position, 0) <= upto AND coalesce(following.position, 0) <= upto
    AND live IS DISTINCT FROM following
