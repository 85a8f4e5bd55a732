-- +goose Up

-- Fails if another process did this a moment ago: then there is nothing to do.
CREATE TEMP TABLE once (done INTEGER CHECK (done = 0));
INSERT INTO once SELECT count(*) FROM doorward_schema WHERE version_id = 2;
DROP TABLE once;

-- Keys are random. In a table that is ordered by them every new record lands on
-- a page of its own; in one that is ordered by its rowid they lie one after the
-- other, and only the small entries of the indexes are spread.
CREATE TABLE ordered (
    kind    TEXT    NOT NULL,
    key     BLOB    NOT NULL,
    version INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    taken   INTEGER NOT NULL,
    names   BLOB,             -- index names, each after its length (uvarint)
    value   BLOB,
    PRIMARY KEY (kind, key)
);
INSERT INTO ordered SELECT kind, key, version, expires, taken, names, value FROM record;
DROP TABLE record;
ALTER TABLE ordered RENAME TO record;
CREATE INDEX record_expires ON record (expires) WHERE expires <> 0;
