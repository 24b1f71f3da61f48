-- Give the ledger its origin, if it has none yet.
-- parameters: $1 origin text
-- columns: origin text (no row if it has one)
-- errors: none
-- locks: the head row, until the transaction ends
UPDATE ledger.head SET origin = $1 WHERE origin = '' RETURNING origin
