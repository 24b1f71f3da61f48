-- Runs that used data, by what people list; `packed` is the whole (consent_domain.runs). `parents` are the runs whose
-- outputs it used, with a space between two; `changed` is the position of its last event.
CREATE TABLE views.runs (
    run      text     COLLATE "C" PRIMARY KEY,
    purpose  text     COLLATE "C" NOT NULL,
    parents  text     COLLATE "C" NOT NULL,
    position bigint   NOT NULL CHECK (position > 0),
    changed  bigint   NOT NULL CHECK (changed >= position),
    packed   bytea    NOT NULL
);
CREATE INDEX runs_position ON views.runs (position);
CREATE INDEX runs_parents ON views.runs USING gin (string_to_array(parents, ' '));
-- Whose data a run used: for each container of 65,536 ordinals (positions of enrolment) the low 16 bits of theirs.
-- `dense`: one bit each, 8,192 bytes, the lowest bit of a byte first; else a Roaring bitmap (portable, 32 bits).
-- The container -1 says that the run's set cannot be read: it may have used anybody's.
-- A question looks at one bit of every run's row. So they are not compressed: only the piece with it is read.
CREATE TABLE views.exposure (
    container bigint  NOT NULL CHECK (container >= -1),
    run       text    COLLATE "C" NOT NULL,
    position  bigint  NOT NULL CHECK (position > 0),
    dense     boolean NOT NULL,
    bits      bytea   NOT NULL CHECK (NOT dense OR octet_length(bits) = 8192),
    PRIMARY KEY (container, run)
);
ALTER TABLE views.exposure ALTER COLUMN bits SET STORAGE EXTERNAL;
CREATE INDEX exposure_run ON views.exposure (run);
INSERT INTO views.cursors (view) VALUES ('runs'), ('exposure');
GRANT SELECT, INSERT, UPDATE ON views.runs, views.exposure TO consent_projector;
GRANT SELECT ON views.runs, views.exposure TO consent_ledger;
