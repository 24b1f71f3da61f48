-- The next generation of a view is built beside the live one as `<view>_next`, with a cursor of that name.
-- These functions run with the rights of the schema's owner, so that the service itself may not change tables.

-- Begin: an empty table without indexes, and its cursor, leased to the builder. An abandoned one is thrown away.
CREATE FUNCTION views.begin_next(of_view text, of_owner text, lease interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    following text := of_view || '_next';
BEGIN
    IF of_view NOT IN ('facts', 'requests', 'counts', 'runs', 'exposure') THEN
        RAISE EXCEPTION 'there is no view % to build', of_view USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('LOCK TABLE views.%I IN ACCESS SHARE MODE', of_view);
    PERFORM 1 FROM views.cursors WHERE view = of_view FOR UPDATE;
    DELETE FROM views.cursors
    WHERE view = following AND (owner = of_owner OR leased_until < clock_timestamp());
    IF EXISTS (SELECT FROM views.cursors WHERE view = following) THEN
        RAISE EXCEPTION 'another process builds %', following USING ERRCODE = 'object_in_use';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS views.%I', following);
    EXECUTE format('CREATE TABLE views.%I (LIKE views.%I INCLUDING ALL EXCLUDING INDEXES)', following, of_view);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON views.%I TO consent_projector', following);
    INSERT INTO views.cursors (view, generation, owner, leased_until)
    SELECT following, generation + 1, of_owner, clock_timestamp() + lease FROM views.cursors WHERE view = of_view;
END
$$;

-- Give the filled table the live one's indexes: building them after the load costs a fraction.
CREATE FUNCTION views.index_next(of_view text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    following text := of_view || '_next';
    existing record;
BEGIN
    FOR existing IN
        SELECT relname AS name, indisprimary, pg_get_indexdef(indexrelid) AS definition
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = format('views.%I', of_view)::regclass ORDER BY relname
    LOOP
        EXECUTE replace(replace(existing.definition,
            format(' INDEX %I ON ', existing.name), format(' INDEX %I ON ', existing.name || '_next')),
            format(' ON views.%I ', of_view), format(' ON views.%I ', following));
        IF existing.indisprimary THEN
            EXECUTE format('ALTER TABLE views.%I ADD PRIMARY KEY USING INDEX %I', following, existing.name || '_next');
        END IF;
    END LOOP;
    EXECUTE format('ANALYZE views.%I', following);
END
$$;

-- Switch: the next generation takes the live one's name, in one transaction, if the builder holds the lease of both
-- and the next is not behind. Returns whether it did. Tables are locked before cursors, as every save does.
-- Whoever reads a view by more than one statement under one snapshot (REPEATABLE READ) must first
-- LOCK TABLE … IN ACCESS SHARE MODE: a snapshot from before the switch does not see all rows of the new table.
CREATE FUNCTION views.switch_to_next(of_view text, of_owner text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    following text := of_view || '_next';
    live views.cursors;
    built views.cursors;
    existing record;
BEGIN
    EXECUTE format('LOCK TABLE views.%I, views.%I IN ACCESS EXCLUSIVE MODE', of_view, following);
    SELECT * INTO live FROM views.cursors WHERE view = of_view FOR UPDATE;
    SELECT * INTO built FROM views.cursors WHERE view = following FOR UPDATE;
    IF live.owner <> of_owner OR built.owner IS DISTINCT FROM of_owner OR built.position < live.position
        OR built.generation <> live.generation + 1
    THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE views.%I', of_view);
    EXECUTE format('ALTER TABLE views.%I RENAME TO %I', following, of_view);
    FOR existing IN
        SELECT relname AS name FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = format('views.%I', of_view)::regclass
    LOOP
        EXECUTE format('ALTER INDEX views.%I RENAME TO %I', existing.name, regexp_replace(existing.name, '_next$', ''));
    END LOOP;
    EXECUTE format('GRANT SELECT ON views.%I TO consent_ledger', of_view);
    UPDATE views.cursors
    SET position = built.position, leaf_hash = built.leaf_hash, generation = built.generation, moved_at = clock_timestamp(),
        owner = '', leased_until = '-infinity'
    WHERE view = of_view;
    DELETE FROM views.cursors WHERE view = following;
    RETURN true;
END
$$;

-- Throw the next generation away.
CREATE FUNCTION views.drop_next(of_view text, of_owner text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM views.cursors WHERE view = of_view || '_next' AND owner = of_owner;
    IF FOUND THEN
        EXECUTE format('DROP TABLE views.%I', of_view || '_next');
    END IF;
END
$$;

-- A view that was folded from another history than the ledger has now, because that was restored, is worth nothing:
-- it becomes empty and begins again at 0. Returns the cursor, and no row if the lease is another's by now, or the
-- view turns out to be the ledger's. The relay has no table; its stream says for itself how far it is.
CREATE FUNCTION views.start_over(of_view text, of_owner text) RETURNS TABLE ("position" bigint, generation integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF of_view IN ('facts', 'requests', 'counts', 'runs', 'exposure') THEN
        EXECUTE format('LOCK TABLE views.%I IN ACCESS EXCLUSIVE MODE', of_view);
    ELSIF of_view <> 'relay' THEN
        RETURN;
    END IF;
    PERFORM 1 FROM views.cursors AS cursor
    WHERE cursor.view = of_view AND cursor.owner = of_owner AND NOT views.is_of_ledger(cursor) FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF of_view <> 'relay' THEN
        EXECUTE format('TRUNCATE views.%I', of_view);
    END IF;
    RETURN QUERY UPDATE views.cursors AS cursor
    SET position = 0, leaf_hash = '', generation = cursor.generation + 1, moved_at = clock_timestamp()
    WHERE cursor.view = of_view
    RETURNING cursor.position, cursor.generation;
END
$$;
