-- Requests that were due before an instant and are open still, the longest overdue first.
-- parameters: ?1 now_micros integer, ?2 rows_max integer
-- columns: stream text, request text, due_at_micros integer, position integer
-- errors: none
-- locks: none
SELECT stream, request, due_at_micros, position FROM deadlines WHERE due_at_micros < ?1
ORDER BY due_at_micros LIMIT ?2
