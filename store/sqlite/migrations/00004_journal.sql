-- +goose Up

-- Fails if another process did this a moment ago: then there is nothing to do.
CREATE TEMP TABLE once (done INTEGER CHECK (done = 0));
INSERT INTO once SELECT count(*) FROM doorward_schema WHERE version_id = 4;
DROP TABLE once;

-- Records that are only listed. Their keys are in the order of their making, so
-- a new one costs one entry at the end of one tree.
CREATE TABLE journal (
    kind    TEXT    NOT NULL,
    key     BLOB    NOT NULL,
    expires INTEGER NOT NULL,
    value   BLOB,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
