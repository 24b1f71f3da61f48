-- How many events of each type were recorded on each day (UTC), opt-outs and opt-ins among them.
CREATE TABLE views.counts (
    day      date   NOT NULL,
    type     text   COLLATE "C" NOT NULL,
    events   bigint NOT NULL CHECK (events > 0),
    position bigint NOT NULL CHECK (position > 0),
    PRIMARY KEY (day, type)
);
CREATE INDEX counts_position ON views.counts (position);
