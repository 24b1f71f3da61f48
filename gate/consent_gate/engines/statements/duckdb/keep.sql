-- The rows whose owner permits data of any collection time.
-- parameters: none; consent_rows has consent_owner, consent_gate_allowed the permitted workspaces
-- columns: those of consent_rows but consent_owner
-- Ids differ by case. A collation of the column or the session would have them equal; "C" stands for none.
SELECT consent_rows.* EXCLUDE (consent_owner)
FROM consent_rows
SEMI JOIN consent_gate_allowed AS allowed ON consent_rows.consent_owner COLLATE "C" = allowed.workspace
