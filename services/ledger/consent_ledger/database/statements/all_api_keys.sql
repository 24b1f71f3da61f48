-- Every API key, the revoked ones too, oldest first.
-- parameters: none
-- columns: id uuid, prefix text, key_hash bytea, role text, scope_kind text, scope_id text, name text, principal text, may_unseal boolean, created_at timestamptz, revoked_at timestamptz
-- errors: none
-- locks: none
SELECT id, prefix, key_hash, role, scope_kind, scope_id, name, principal, may_unseal, created_at, revoked_at
FROM ledger.api_keys ORDER BY created_at
