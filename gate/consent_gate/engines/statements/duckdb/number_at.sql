-- The rows with the number of the verdict on their owner, for data of their collection time.
-- parameters: none; consent_rows has consent_owner, consent_instant, and consent_unknown and consent_invalid, the
--   numbers for those whom consent_gate_standings does not know and for what is no id; consent_gate_stretches
--   has a row for each range of times of a line
-- columns: those of consent_rows but these but consent_instant, and consent_number
-- The collation is that of `keep.sql`; 0 is the verdict on no workspace, 1 on data from before enrolment. What was
-- collected at infinity is of the last range.
SELECT
    consent_rows.* EXCLUDE (consent_owner, consent_unknown, consent_invalid),
    CASE
        WHEN standings.workspace IS NOT NULL THEN
            CASE
                WHEN consent_rows.consent_instant = -9223372036854775808 THEN standings.unstated
                WHEN consent_rows.consent_instant < standings.since THEN 1
                ELSE stretches.verdict
            END
        WHEN consent_rows.consent_owner IS NULL THEN 0
        WHEN regexp_full_match(consent_rows.consent_owner, '[A-Za-z0-9._-]{1,128}') THEN consent_rows.consent_unknown
        ELSE consent_rows.consent_invalid
    END AS consent_number
FROM consent_rows
LEFT JOIN consent_gate_standings AS standings
    ON consent_rows.consent_owner COLLATE "C" = standings.workspace
LEFT JOIN consent_gate_stretches AS stretches
    ON standings.line = stretches.line
    AND consent_rows.consent_instant >= stretches.start
    AND (consent_rows.consent_instant < stretches."end" OR stretches."end" = 9223372036854775807)
