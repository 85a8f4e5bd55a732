-- +goose Up

-- Fails if another process did this a moment ago: then there is nothing to do.
CREATE TEMP TABLE once (done INTEGER CHECK (done = 0));
INSERT INTO once SELECT count(*) FROM doorward_schema WHERE version_id = 9;
DROP TABLE once;

-- What one transaction writes into a journal lies in few rows, in the order of the
-- commits: finding the place of a row costs more than what it holds, and where all
-- come last one page is written, not three. An older program that still runs
-- fails: it knows neither seq nor records.
CREATE TABLE bundled (
    seq     INTEGER PRIMARY KEY, -- microseconds since 1970, or one more than the last
    kind    TEXT    NOT NULL,
    key     BLOB,                -- as older schemas had it: of the only one, whose value is in records; else NULL
    ends    INTEGER NOT NULL,    -- when the first of those within expires; 0: none does
    records BLOB
);
INSERT INTO bundled (kind, key, ends, records) SELECT kind, key, expires, value FROM journal ORDER BY kind, key;
DROP TABLE journal;
ALTER TABLE bundled RENAME TO journal;
