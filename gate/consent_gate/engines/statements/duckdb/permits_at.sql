-- A macro: whether a workspace permits data collected then (a TIMESTAMPTZ, NULL if nobody stated it).
-- parameters: none; consent_gate_times holds a row a range of permitted times
-- columns: none
-- The collation is that of `keep.sql`.
CREATE OR REPLACE TEMP MACRO consent_permits_at(workspace_id, collected) AS
    EXISTS (
        FROM temp.consent_gate_times AS allowed
        WHERE workspace_id::VARCHAR COLLATE "C" = allowed.workspace
        AND allowed.start <= consent_instant(collected)
        AND allowed."end" > consent_instant(collected)
    )
