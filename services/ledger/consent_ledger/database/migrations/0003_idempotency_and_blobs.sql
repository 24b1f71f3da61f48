-- Idempotency keys never expire: the same key settles an unknown outcome years later. Kept is their SHA-256.
CREATE TABLE ledger.idempotency (
    key            text        NOT NULL,
    principal      text        NOT NULL,
    body_hash      bytea       NOT NULL CHECK (octet_length(body_hash) = 32),
    first_position bigint,
    last_position  bigint,
    outcome        bytea       NOT NULL,
    recorded_at    timestamptz NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE TABLE ledger.blobs (
    sha256     bytea PRIMARY KEY CHECK (sha256 = sha256(body)),
    media_type text  NOT NULL,
    body       bytea NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.idempotency
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.blobs
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
