-- +goose Up

-- Fails if another process did this a moment ago: then there is nothing to do.
CREATE TEMP TABLE once (done INTEGER CHECK (done = 0));
INSERT INTO once SELECT count(*) FROM doorward_schema WHERE version_id = 8;
DROP TABLE once;

-- What Once remembers, in the order of the commits: names are random, and in a
-- table that is ordered by them each wrote a page of its own. Which row a name
-- has, every process keeps in memory. It finds what others wrote behind the last
-- row that it knows, so no number may be given twice: the last row is never
-- removed, only emptied (its name is then x''), until there is one behind it.
CREATE TABLE used (
    seq     INTEGER PRIMARY KEY,
    name    BLOB    NOT NULL,
    expires INTEGER NOT NULL,
    value   BLOB
);
INSERT INTO used (name, expires, value) SELECT name, expires, value FROM seen;

-- An older program that still runs fails where it asks for a name or uses one.
DROP TABLE seen;
