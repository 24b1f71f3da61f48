-- Which position the view of facts is at, and a time of the log at which that was all: now if the head is there too, else that of the last event that it has, and long ago if it has none. None if the view was folded from a history that the ledger has not any more.
-- parameters: none
-- columns: origin text, epoch integer, position bigint, generation integer, time timestamptz
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT head.origin, head.epoch, cursor.position, cursor.generation,
    CASE WHEN cursor.position = head.position THEN greatest(transaction_timestamp(), head.recorded_at)
        ELSE coalesce(
            (SELECT recorded_at FROM ledger.events AS e WHERE e.position = cursor.position), 'epoch'
        ) END AS time
FROM ledger.head AS head
CROSS JOIN views.cursors AS cursor
WHERE cursor.view = 'facts' AND views.is_of_ledger(cursor) AND NOT views.is_disputed(cursor)
