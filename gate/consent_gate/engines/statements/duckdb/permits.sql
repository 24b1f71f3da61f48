-- A macro: whether a workspace permits data of any collection time; false for none, and for unknown ones.
-- parameters: none; consent_gate_unstated holds the permitted workspaces
-- columns: none
-- The collation is that of `keep.sql`.
CREATE OR REPLACE TEMP MACRO consent_permits(workspace_id) AS
    EXISTS (FROM temp.consent_gate_unstated AS allowed WHERE workspace_id::VARCHAR COLLATE "C" = allowed.workspace)
