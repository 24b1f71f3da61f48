-- The rows whose owner permits data of their collection time.
-- parameters: none; consent_rows has consent_owner and consent_instant, consent_gate_allowed a row a range
-- columns: those of consent_rows but these two
-- The collation is that of `keep.sql`.
SELECT consent_rows.* EXCLUDE (consent_owner, consent_instant)
FROM consent_rows
SEMI JOIN consent_gate_allowed AS allowed
    ON consent_rows.consent_owner COLLATE "C" = allowed.workspace
    AND consent_rows.consent_instant >= allowed.start
    AND consent_rows.consent_instant < allowed."end"
