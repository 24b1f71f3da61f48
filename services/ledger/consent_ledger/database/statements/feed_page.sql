-- What remote gates receive: rows of facts changed after a position, in order, with the view's position and the head, all of one instant. One row at least: without a change its kind is null. None if the view was folded from a history that the ledger has not any more.
-- parameters: $1 after bigint, $2 rows_max bigint
-- columns: origin text, epoch integer, head bigint, recorded_at timestamptz, now timestamptz, through bigint, generation integer, kind text, id text, position bigint, facts bytea
-- errors: none
-- locks: none
SELECT head.origin, head.epoch, head.position AS head, head.recorded_at, clock_timestamp() AS now,
    cursor.position AS through, cursor.generation, changed.kind, changed.id, changed.position, changed.facts
FROM ledger.head AS head
    CROSS JOIN views.cursors AS cursor
    LEFT JOIN LATERAL (
        SELECT kind, id, position, facts FROM views.facts
        WHERE position > $1::bigint ORDER BY position LIMIT $2::bigint
    ) AS changed ON true
WHERE cursor.view = 'facts' AND views.is_of_ledger(cursor) AND NOT views.is_disputed(cursor)
ORDER BY changed.position
