-- What was erased of whom: asked for by people, filtered out of every read from then on, rewritten by the archive worker,
-- proven and certified by the command. The subject is kept as a salted digest only.
CREATE TABLE erasure (
    erasure_id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    salt BLOB NOT NULL,
    subject_sha256 BLOB NOT NULL,
    at_once BIGINT NOT NULL,
    asked_by TEXT NOT NULL,
    asked_at_us BIGINT NOT NULL,
    files_left BIGINT NOT NULL,
    problem TEXT NOT NULL,
    rewritten_at_us BIGINT,
    certified_at_us BIGINT,
    certificate BLOB,
    signature BLOB
);
CREATE INDEX erasure_open ON erasure (asked_at_us) WHERE certified_at_us IS NULL;
CREATE TABLE erasure_range (
    erasure_id TEXT NOT NULL,
    device TEXT NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    PRIMARY KEY (erasure_id, device, from_us)
);
CREATE TABLE erasure_count (
    erasure_id TEXT NOT NULL,
    table_name TEXT NOT NULL,
    files BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    PRIMARY KEY (erasure_id, table_name)
);
-- Frames of which nothing is kept any more.
ALTER TABLE archive_stream ADD COLUMN erased BIGINT NOT NULL DEFAULT 0;
ALTER TABLE archive_hour ADD COLUMN erased BIGINT NOT NULL DEFAULT 0;
-- The erasure that replaced a file, or empty: under a legal hold such a file is not removed.
ALTER TABLE archive_retired ADD COLUMN erasure_id TEXT NOT NULL DEFAULT '';
