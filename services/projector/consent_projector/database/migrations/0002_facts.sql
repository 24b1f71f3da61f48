-- What decides: packed facts (consent_domain.facts) per workspace and organisation, and the one book.
-- `position` is that of the last event that changed the row: the feed reads what changed after a position.
CREATE TABLE views.facts (
    kind     text   COLLATE "C" NOT NULL CHECK (kind IN ('workspace', 'organisation', 'book')),
    id       text   COLLATE "C" NOT NULL,
    position bigint NOT NULL CHECK (position > 0),
    facts    bytea  NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX facts_position ON views.facts (position);
