-- One row: where the archive goes on reading.
CREATE TABLE archive_position (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    next_offset BIGINT NOT NULL,
    lease BIGINT NOT NULL,
    committed_at_us BIGINT NOT NULL
);
CREATE TABLE archive_file (
    path TEXT PRIMARY KEY,
    table_name TEXT NOT NULL,
    tenant TEXT NOT NULL,
    day TEXT NOT NULL,
    partition_id BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    byte_count BIGINT NOT NULL,
    sha256 BLOB NOT NULL,
    time_min_us BIGINT NOT NULL,
    time_max_us BIGINT NOT NULL,
    offset_first BIGINT NOT NULL,
    offset_last BIGINT NOT NULL,
    committed_at_us BIGINT NOT NULL
);
CREATE INDEX archive_file_by_table ON archive_file (table_name, tenant, time_min_us);
-- What has been seen of each stream (tenant, device, epoch, lane). Epoch 0 counts what has no place in a stream.
CREATE TABLE archive_stream (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    lane BIGINT NOT NULL,
    seen BLOB NOT NULL,
    recent BLOB NOT NULL,
    archived BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    quarantined BIGINT NOT NULL,
    late BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, device, epoch, lane)
);
-- Sealed secrets of the archive.
CREATE TABLE archive_secret (
    name TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
);
