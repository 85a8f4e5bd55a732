-- +goose Up

-- Fails if another process did this a moment ago: then there is nothing to do.
CREATE TEMP TABLE once (done INTEGER CHECK (done = 0));
INSERT INTO once SELECT count(*) FROM doorward_schema WHERE version_id = 5;
DROP TABLE once;

-- What Once remembers. A name that is there is seen, so one entry in one tree is
-- all that a new one costs; what has expired is found by walking over the table.
-- Whole names and not their digests: they can be listed, and whoever has long
-- ones can make digests of them.
CREATE TABLE seen (
    name    BLOB    NOT NULL PRIMARY KEY,
    expires INTEGER NOT NULL,
    value   BLOB
) WITHOUT ROWID;
INSERT INTO seen SELECT key, expires, value FROM record WHERE kind = 'once';
DELETE FROM named WHERE kind = 'once';
DELETE FROM record WHERE kind = 'once';

-- An older program that still runs would look for names where they are no more,
-- and let them be used a second time. Without this column it fails.
ALTER TABLE record RENAME COLUMN version TO writes;
