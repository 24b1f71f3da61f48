-- How many seconds the opt-outs processed since a time took, median and 90th percentile, of the projector's view.
-- parameters: $1 since timestamptz
-- columns: median double precision, ninetieth double precision (null if there were none)
-- errors: undefined_table before the projector's migrations were applied
-- locks: none
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM processed_at - received_at)::double precision) AS median,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM processed_at - received_at)::double precision) AS ninetieth
FROM views.requests WHERE kind = 'opt_out' AND processed_at > $1::timestamptz
