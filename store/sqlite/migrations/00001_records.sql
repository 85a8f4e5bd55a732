-- +goose Up

-- Times are milliseconds since 1970 UTC; 0 means never. Keys and names are
-- opaque bytes, hence BLOB.
CREATE TABLE record (
    kind    TEXT    NOT NULL,
    key     BLOB    NOT NULL,
    version INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    taken   INTEGER NOT NULL,
    names   BLOB,             -- index names, each after its length (uvarint)
    value   BLOB,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;

-- Sweeps look for what has expired.
CREATE INDEX record_expires ON record (expires) WHERE expires <> 0;

-- List by index name.
CREATE TABLE named (
    kind TEXT NOT NULL,
    name BLOB NOT NULL,
    key  BLOB NOT NULL,
    PRIMARY KEY (kind, name, key)
) WITHOUT ROWID;

-- What other processes watch: one row per transaction, in the order of the
-- commits and without gaps; the oldest are cut off, the newest never.
CREATE TABLE change (
    seq    INTEGER PRIMARY KEY,
    writer INTEGER NOT NULL,  -- who wrote it, random per opened store
    puts   BLOB    NOT NULL   -- kind and key of each record, each after its length (uvarint)
);
