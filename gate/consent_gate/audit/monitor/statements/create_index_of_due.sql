-- Find what is overdue without reading what is not.
-- parameters: none
-- columns: none
-- errors: index deadlines_due already exists
-- locks: the file, for writing
CREATE INDEX deadlines_due ON deadlines (due_at_micros)
