-- The roles were made by the ledger's migrations, which come first.
GRANT USAGE ON SCHEMA views TO consent_projector, consent_ledger;
GRANT SELECT, INSERT, UPDATE ON views.facts, views.requests, views.counts TO consent_projector;
GRANT SELECT, UPDATE ON views.cursors TO consent_projector;
GRANT SELECT ON views.facts, views.requests, views.counts, views.cursors TO consent_ledger;
REVOKE EXECUTE ON FUNCTION views.begin_next, views.index_next, views.switch_to_next, views.drop_next, views.start_over FROM PUBLIC;
GRANT EXECUTE ON FUNCTION views.begin_next, views.index_next, views.switch_to_next, views.drop_next, views.start_over TO consent_projector;
