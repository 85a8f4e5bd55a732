-- +goose Up

-- Fails if another process did this a moment ago: then there is nothing to do.
CREATE TEMP TABLE once (done INTEGER CHECK (done = 0));
INSERT INTO once SELECT count(*) FROM doorward_schema WHERE version_id = 6;
DROP TABLE once;

-- When the sweep is to look at which records: block n is the rows from 64 n on.
-- A block has an entry no later than its first record ends; a record that lives
-- longer than it said leaves it as it is, and the sweep finds that out. An index
-- of expiries cost an entry a record, and two with each extension.
CREATE TABLE due (
    at    INTEGER NOT NULL,   -- a full minute
    block INTEGER NOT NULL,
    PRIMARY KEY (at, block)
) WITHOUT ROWID;
INSERT INTO due SELECT min(expires) / 60000 * 60000, row / 64 FROM record WHERE expires <> 0 GROUP BY row / 64;
DROP INDEX record_expires;

-- An older program that still runs would write records that no sweep finds.
-- Without this column it fails.
ALTER TABLE record RENAME COLUMN expires TO ends;
