-- Which of the ledger's tables hold anything.
-- parameters: none
-- columns: name text
-- errors: none
-- locks: none
SELECT name FROM (VALUES
    ('events', EXISTS (SELECT FROM ledger.events)),
    ('idempotency', EXISTS (SELECT FROM ledger.idempotency)),
    ('blobs', EXISTS (SELECT FROM ledger.blobs)),
    ('api_keys', EXISTS (SELECT FROM ledger.api_keys)),
    ('unsealings', EXISTS (SELECT FROM ledger.unsealings)),
    ('head', EXISTS (SELECT FROM ledger.head WHERE position > 0))
) AS tables (name, is_filled)
WHERE is_filled
