-- How far each view is, who may move it, and until when. `leaf_hash` is that of the event at `position`: it tells
-- whether the ledger still has the history that the view was folded from, or was restored and has another.
-- Low fillfactor keeps updates on the page (HOT).
CREATE TABLE views.cursors (
    view         text        PRIMARY KEY CHECK (view ~ '^[a-z_]{1,40}$'),
    position     bigint      NOT NULL DEFAULT 0 CHECK (position >= 0),
    leaf_hash    bytea       NOT NULL DEFAULT '',
    generation   integer     NOT NULL DEFAULT 1 CHECK (generation > 0),
    owner        text        NOT NULL DEFAULT '',
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    moved_at     timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
INSERT INTO views.cursors (view) VALUES ('facts'), ('requests'), ('counts'), ('relay');

-- The fence of every write: the cursor moves from where the writer believes it is, while the writer holds the
-- lease, or not at all (no row). A process that was paused and lost the lease cannot write, however late it wakes.
-- It is committed without waiting for the disk or a standby: rows and cursor are lost together or not at all, the log
-- before them is durable, and folding it again gives the same. So views cost the ledger's own commits no fsync.
-- `hashes` are the leaf hashes of events that came by the messenger, in order; they must be the ledger's own.
CREATE FUNCTION views.move_cursor(
    of_view text, of_owner text, of_generation integer, after bigint, upto bigint, lease interval, hashes bytea[]
) RETURNS SETOF bigint LANGUAGE sql VOLATILE AS $$
    SELECT set_config('synchronous_commit', 'off', true);
    UPDATE views.cursors
    SET position = upto,
        leaf_hash = coalesce((SELECT event.leaf_hash FROM ledger.events AS event WHERE event.position = upto), ''),
        leased_until = clock_timestamp() + lease, moved_at = clock_timestamp()
    WHERE view = of_view AND owner = of_owner AND generation = of_generation AND position = after
        AND cardinality(hashes) = (
            SELECT count(*) FROM unnest(hashes) WITH ORDINALITY AS heard (hash, ordinality)
            WHERE hash = (SELECT event.leaf_hash FROM ledger.events AS event WHERE event.position = after + ordinality)
        )
    RETURNING position
$$;

-- Whether a view was folded from the ledger as it is. One that went nowhere yet, or to where no event was, was.
CREATE FUNCTION views.is_of_ledger(cursor views.cursors) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT cursor.leaf_hash = '' OR EXISTS (
        SELECT FROM ledger.events AS event
        WHERE event.position = cursor.position AND event.leaf_hash = cursor.leaf_hash
    )
$$;
