-- API keys by the SHA-256 of the whole key. A key is revoked, never deleted.
CREATE TABLE ledger.api_keys (
    id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    prefix     text        NOT NULL UNIQUE,
    key_hash   bytea       NOT NULL CHECK (octet_length(key_hash) = 32),
    role       text        NOT NULL CHECK (role IN ('admin', 'auditor', 'pipeline', 'owner')),
    scope_kind text        CHECK (scope_kind IN ('workspace', 'organisation')),
    scope_id   text,
    name       text        NOT NULL,
    principal  text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    -- Whether sealed fields may be unsealed with it.
    may_unseal boolean     NOT NULL DEFAULT false CHECK (role = 'auditor' OR NOT may_unseal),
    CHECK ((role = 'owner') = (scope_kind IS NOT NULL)),
    CHECK ((scope_kind IS NULL) = (scope_id IS NULL))
);
