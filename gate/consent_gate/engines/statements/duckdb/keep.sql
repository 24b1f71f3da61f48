-- The rows whose owner permits data of any collection time.
-- parameters: none; consent_rows has consent_owner, consent_gate_allowed the permitted workspaces
-- columns: those of consent_rows but consent_owner
SELECT consent_rows.* EXCLUDE (consent_owner)
FROM consent_rows
SEMI JOIN consent_gate_allowed AS allowed ON consent_rows.consent_owner = allowed.workspace
