-- Where the log and the view of facts stand, of one instant: what tells whether those who follow have anything to fetch. No row if the view was folded from a history that the ledger has not any more.
-- parameters: none
-- columns: origin text, epoch integer, head bigint, recorded_at timestamptz, now timestamptz, through bigint, generation integer
-- errors: none
-- locks: none
SELECT head.origin, head.epoch, head.position AS head, head.recorded_at, clock_timestamp() AS now,
    cursor.position AS through, cursor.generation
FROM ledger.head AS head
    CROSS JOIN views.cursors AS cursor
WHERE cursor.view = 'facts' AND views.is_of_ledger(cursor) AND NOT views.is_disputed(cursor)
