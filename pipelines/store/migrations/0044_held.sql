-- Tenants whose keys are refused: what comes of theirs is kept out of the archive's tables until their keys are had again.
-- `part`: the partition of the bus whose worker holds them back, 0 on one machine.
CREATE TABLE archive_held_tenant (
    tenant TEXT NOT NULL,
    part BIGINT NOT NULL,
    since_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, part)
);
-- Files of their records, as these stood in the journal; `taken_count` of them have become rows since. `sealed_key` opens
-- the file, and nothing else does: with this row goes what the file says.
CREATE TABLE archive_held_file (
    path TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    partition_id BIGINT NOT NULL,
    offset_first BIGINT NOT NULL,
    offset_last BIGINT NOT NULL,
    record_count BIGINT NOT NULL,
    taken_count BIGINT NOT NULL,
    byte_count BIGINT NOT NULL,
    sha256 BLOB NOT NULL,
    sealed_key BLOB NOT NULL,
    held_at_us BIGINT NOT NULL
);
CREATE INDEX archive_held_file_by_tenant ON archive_held_file (tenant, offset_first);
