-- How many rows there are of each kind.
-- parameters: none; consent_rows has nothing but the numbers of verdicts
-- columns: those of consent_rows, and consent_count
SELECT *, count(*) AS consent_count
FROM consent_rows
GROUP BY ALL
