-- The rows with their collection times as microseconds: the first number there is where nobody stated one,
-- the last, at which nothing is permitted, for the infinities.
-- parameters: none; consent_rows has consent_collected (TIMESTAMPTZ)
-- columns: those of consent_rows but consent_collected, and consent_instant
SELECT
    * EXCLUDE (consent_collected),
    CASE
        WHEN consent_collected IS NULL THEN -9223372036854775808
        WHEN NOT isfinite(consent_collected) THEN 9223372036854775807
        ELSE epoch_us(consent_collected)
    END AS consent_instant
FROM consent_rows
