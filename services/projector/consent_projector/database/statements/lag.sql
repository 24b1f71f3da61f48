-- How far each view is behind the ledger's head, and since when its oldest missing event is recorded.
-- parameters: none
-- columns: view text, position bigint, generation integer, is_leased boolean, head bigint, behind bigint, behind_seconds double precision
-- errors: none
-- locks: none
SELECT cursor.view, cursor.position, cursor.generation, cursor.leased_until > clock_timestamp() AS is_leased,
    head.position AS head, head.position - cursor.position AS behind,
    coalesce(extract(epoch FROM clock_timestamp() - missing.recorded_at), 0)::double precision AS behind_seconds
FROM ledger.head AS head, views.cursors AS cursor
    LEFT JOIN ledger.events AS missing ON missing.position = cursor.position + 1
ORDER BY cursor.view
