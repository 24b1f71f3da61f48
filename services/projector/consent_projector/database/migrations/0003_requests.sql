-- Requests to opt out and in, by what people list and filter; `request` is the packed whole
-- (consent_domain.requests). Overdue is: `due_at` has passed and `is_open`.
CREATE TABLE views.requests (
    id           text        COLLATE "C" PRIMARY KEY,
    kind         text        COLLATE "C" NOT NULL,
    scope_kind   text        COLLATE "C" NOT NULL,
    scope_id     text        COLLATE "C" NOT NULL,
    stream       text        COLLATE "C" NOT NULL,
    state        text        COLLATE "C" NOT NULL,
    is_open      boolean     NOT NULL,
    authority    text        COLLATE "C" NOT NULL,
    received_at  timestamptz NOT NULL,
    due_at       timestamptz,
    processed_at timestamptz,
    position     bigint      NOT NULL CHECK (position > 0),
    request      bytea       NOT NULL
);
CREATE INDEX requests_position ON views.requests (position);
CREATE INDEX requests_stream ON views.requests (stream);
CREATE INDEX requests_due ON views.requests (due_at) WHERE is_open;
CREATE INDEX requests_processed ON views.requests (processed_at) WHERE processed_at IS NOT NULL;
