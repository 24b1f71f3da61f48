-- Record a new API key.
-- parameters: $1 prefix text, $2 key_hash bytea, $3 role text, $4 scope_kind text, $5 scope_id text, $6 name text, $7 principal text, $8 may_unseal boolean
-- columns: id uuid
-- errors: unique_violation for a prefix that exists, check_violation for a scope or a right that does not fit the role
-- locks: none
INSERT INTO ledger.api_keys (prefix, key_hash, role, scope_kind, scope_id, name, principal, may_unseal)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
