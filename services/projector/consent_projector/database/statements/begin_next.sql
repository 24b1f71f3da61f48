-- Begin the next generation of a view: an empty table beside the live one, and its cursor.
-- parameters: $1 view text, $2 owner text, $3 lease interval
-- columns: begin_next text
-- errors: object_in_use while another process builds it, invalid_parameter_value for no view
-- locks: the view's cursor row, for this statement
SELECT views.begin_next($1, $2, $3)::text
