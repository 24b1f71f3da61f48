-- The events, as they were encoded once. Nothing updates or deletes them.
CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: % is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TABLE ledger.events (
    position    bigint      PRIMARY KEY CHECK (position > 0),
    stream      text        COLLATE "C" NOT NULL
        CHECK (stream ~ '^(workspace|organisation|policy|purpose|run|recipient|log)/[A-Za-z0-9._-]{1,128}$'),
    version     integer     NOT NULL CHECK (version > 0),
    id          uuid        NOT NULL,
    type        text        NOT NULL,
    recorded_at timestamptz NOT NULL,
    body        bytea       NOT NULL CHECK (octet_length(body) BETWEEN 1 AND 65535),
    leaf_hash   bytea       NOT NULL CHECK (octet_length(leaf_hash) = 32),
    UNIQUE (stream, version)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.events
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- A request is known by the id of the event that began it: this finds its stream.
CREATE INDEX events_that_begin_requests ON ledger.events (id)
    WHERE type IN ('opt-out-requested.v1', 'opt-in-requested.v1');
-- Erasures are few, and every process looks for new ones.
CREATE INDEX events_that_erase ON ledger.events (position)
    WHERE type IN ('person-erased.v1', 'workspace-erased.v1');
-- What concerns everybody is little, and every question about the past needs all of it up to a position.
CREATE INDEX events_for_everybody ON ledger.events (position)
    WHERE (stream >= 'policy/' AND stream < 'policy0')
    OR (stream >= 'purpose/' AND stream < 'purpose0')
    OR (stream >= 'log/' AND stream < 'log0');
