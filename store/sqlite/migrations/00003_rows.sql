-- +goose Up

-- Fails if another process did this a moment ago: then there is nothing to do.
CREATE TEMP TABLE once (done INTEGER CHECK (done = 0));
INSERT INTO once SELECT count(*) FROM doorward_schema WHERE version_id = 3;
DROP TABLE once;

-- Names lead to rows and not to keys: the entries of a name lie in the order in
-- which its records were made, so that a new one lands where the last one did.
-- row is a column of its own, since VACUUM numbers hidden rowids anew.
CREATE TABLE kept (
    row     INTEGER PRIMARY KEY,
    kind    TEXT    NOT NULL,
    key     BLOB    NOT NULL,
    version INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    taken   INTEGER NOT NULL,
    names   BLOB,             -- index names, each after its length (uvarint)
    value   BLOB,
    UNIQUE (kind, key)
);
INSERT INTO kept SELECT rowid, kind, key, version, expires, taken, names, value FROM record;

CREATE TABLE listed (
    kind TEXT    NOT NULL,
    name BLOB    NOT NULL,
    row  INTEGER NOT NULL,
    PRIMARY KEY (kind, name, row)
) WITHOUT ROWID;
INSERT INTO listed SELECT named.kind, named.name, kept.row FROM named JOIN kept ON kept.kind = named.kind AND kept.key = named.key;

DROP TABLE named;
DROP TABLE record;
ALTER TABLE kept RENAME TO record;
ALTER TABLE listed RENAME TO named;
CREATE INDEX record_expires ON record (expires) WHERE expires <> 0;
