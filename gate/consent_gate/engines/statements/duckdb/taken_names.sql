-- How many tables and views of the database have a name that only this engine should use, in any case.
-- parameters: none
-- columns: count
SELECT count(*) AS count
FROM (
    SELECT table_name AS name FROM duckdb_tables()
    UNION ALL
    SELECT view_name FROM duckdb_views()
)
WHERE lower(name) IN ('consent_gate_allowed', 'consent_gate_standings', 'consent_gate_stretches')
