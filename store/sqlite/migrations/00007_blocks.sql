-- +goose Up

-- Fails if another process did this a moment ago: then there is nothing to do.
CREATE TEMP TABLE once (done INTEGER CHECK (done = 0));
INSERT INTO once SELECT count(*) FROM doorward_schema WHERE version_id = 7;
DROP TABLE once;

-- A name leads to the blocks in which records have it, and not to each of them
-- (block n is the rows from 32 n on, which is not the block of due):
-- records that are made at the same time share most of their names. A block that
-- has an entry may have no such record any more.
CREATE TABLE listed (
    kind  TEXT    NOT NULL,
    name  BLOB    NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (kind, name, block)
) WITHOUT ROWID;
INSERT INTO listed SELECT DISTINCT kind, name, row / 32 FROM named;
DROP TABLE named;
ALTER TABLE listed RENAME TO named;
