-- As `instants.sql`, of collection times in nanoseconds: digits past the microsecond are cut, never rounded,
-- which a cast would do, into the future.
-- parameters: none; consent_rows has consent_collected (TIMESTAMPTZ_NS)
-- columns: those of consent_rows but consent_collected, and consent_instant
SELECT
    * EXCLUDE (consent_collected),
    CASE
        WHEN consent_collected IS NULL THEN -9223372036854775808
        ELSE coalesce(
            (epoch_ns(consent_collected) - ((epoch_ns(consent_collected) % 1000) + 1000) % 1000) // 1000,
            9223372036854775807
        )
    END AS consent_instant
FROM consent_rows
