-- The one row whose lock orders all commits. Low fillfactor keeps its updates on the page (HOT).
CREATE TABLE ledger.head (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    origin      text        NOT NULL DEFAULT '',
    epoch       integer     NOT NULL DEFAULT 1 CHECK (epoch > 0),
    position    bigint      NOT NULL DEFAULT 0 CHECK (position >= 0),
    recorded_at timestamptz NOT NULL DEFAULT 'epoch',
    range       bytea       NOT NULL DEFAULT '',
    CHECK (octet_length(range) = 32 * bit_count(int8send(position)))
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
INSERT INTO ledger.head DEFAULT VALUES;

CREATE FUNCTION ledger.guard_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.origin <> '' AND NEW.origin <> OLD.origin THEN
        RAISE EXCEPTION 'the origin of the ledger is % and is set once', OLD.origin USING ERRCODE = 'insufficient_privilege';
    ELSIF NEW.position < OLD.position OR NEW.epoch < OLD.epoch OR NEW.recorded_at < OLD.recorded_at THEN
        RAISE EXCEPTION 'the head of the ledger never moves back' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER only_forward BEFORE UPDATE ON ledger.head FOR EACH ROW EXECUTE FUNCTION ledger.guard_head();
CREATE TRIGGER stays BEFORE DELETE OR TRUNCATE ON ledger.head
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
