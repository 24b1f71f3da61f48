-- The rows of which all owners permit data of any collection time. No owner, or a missing one, permits nothing.
-- parameters: none; consent_rows has the list consent_owner, consent_gate_allowed the permitted workspaces
-- columns: those of consent_rows but consent_owner
-- The collation is that of `keep.sql`.
-- Rows are numbered once and kept aside: two scans might number them differently.
WITH numbered AS MATERIALIZED (
    SELECT *, row_number() OVER () AS consent_row FROM consent_rows
),
owned AS (
    SELECT consent_row, unnest(consent_owner) AS consent_owner FROM numbered
),
kept AS (
    SELECT owned.consent_row
    FROM owned
    LEFT JOIN consent_gate_allowed AS allowed ON owned.consent_owner COLLATE "C" = allowed.workspace
    GROUP BY owned.consent_row
    HAVING bool_and(allowed.workspace IS NOT NULL)
)
SELECT numbered.* EXCLUDE (consent_owner, consent_row)
FROM numbered
SEMI JOIN kept ON numbered.consent_row = kept.consent_row
