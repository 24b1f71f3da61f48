-- Revoke the API key with a prefix.
-- parameters: $1 prefix text
-- columns: id uuid (no row if there is none, or it is revoked already)
-- errors: none
-- locks: the key's row
UPDATE ledger.api_keys SET revoked_at = clock_timestamp() WHERE prefix = $1 AND revoked_at IS NULL RETURNING id
