-- The rows with the number of the verdict on their owner, for data of any collection time.
-- parameters: none; consent_rows has consent_owner, consent_unknown and consent_invalid, the numbers for those
--   whom consent_gate_standings does not know and for what is no id
-- columns: those of consent_rows but these three, and consent_number
-- The collation is that of `keep.sql`; 0 is the verdict on no workspace.
SELECT
    consent_rows.* EXCLUDE (consent_owner, consent_unknown, consent_invalid),
    CASE
        WHEN standings.workspace IS NOT NULL THEN standings.unstated
        WHEN consent_rows.consent_owner IS NULL THEN 0
        WHEN regexp_full_match(consent_rows.consent_owner, '[A-Za-z0-9._-]{1,128}') THEN consent_rows.consent_unknown
        ELSE consent_rows.consent_invalid
    END AS consent_number
FROM consent_rows
LEFT JOIN consent_gate_standings AS standings
    ON consent_rows.consent_owner COLLATE "C" = standings.workspace
