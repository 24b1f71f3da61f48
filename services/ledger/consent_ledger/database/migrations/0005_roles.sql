-- Roles belong to the whole cluster, so another database's migration may have made them, even just now.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['consent_ledger', 'consent_projector'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END
$$;
GRANT USAGE ON SCHEMA ledger TO consent_ledger, consent_projector;
GRANT SELECT, INSERT ON ledger.events, ledger.idempotency, ledger.blobs, ledger.api_keys TO consent_ledger;
GRANT SELECT, UPDATE ON ledger.head TO consent_ledger;
-- ANALYZE after an import.
DO $$
BEGIN
    -- The privilege is new in PostgreSQL 17; before it, autovacuum does the same a little later.
    IF current_setting('server_version_num')::integer >= 170000 THEN
        EXECUTE 'GRANT MAINTAIN ON ledger.events TO consent_ledger';
    END IF;
END
$$;
GRANT UPDATE (revoked_at) ON ledger.api_keys TO consent_ledger;
GRANT SELECT ON ledger.events, ledger.head, ledger.blobs TO consent_projector;
