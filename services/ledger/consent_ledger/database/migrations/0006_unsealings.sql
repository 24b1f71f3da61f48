-- Every look at a sealed field: by whom, at which event, and why. It holds nothing of what was seen.
CREATE TABLE ledger.unsealings (
    number    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    position  bigint      NOT NULL CHECK (position > 0),
    principal text        NOT NULL,
    reason    text        NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.unsealings
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
GRANT SELECT, INSERT ON ledger.unsealings TO consent_ledger;
