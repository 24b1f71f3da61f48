-- A macro: a collection time as microseconds, as `instants.sql` has it.
-- parameters: none
-- columns: none
-- errors: unless it is a TIMESTAMPTZ: without a zone it names no instant, and nanoseconds would be rounded
CREATE OR REPLACE TEMP MACRO consent_instant(collected) AS
    CASE
        WHEN typeof(collected) NOT IN ('TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ')
            THEN error('a collection time is a TIMESTAMPTZ, not a ' || typeof(collected))
        WHEN collected IS NULL THEN -9223372036854775808
        WHEN NOT isfinite(collected) THEN 9223372036854775807
        ELSE epoch_us(collected)
    END
