-- Files that compaction replaced: no reader lists them any more, those that did may still read them.
CREATE TABLE archive_retired (
    path TEXT PRIMARY KEY,
    retired_at_us BIGINT NOT NULL
);
