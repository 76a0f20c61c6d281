-- What came of each stream in each hour. Holes follow from archive_stream; this says which hour they belong to.
CREATE TABLE archive_hour (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    lane BIGINT NOT NULL,
    hour_us BIGINT NOT NULL,
    seen BLOB NOT NULL,
    placed BIGINT NOT NULL,
    archived BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    quarantined BIGINT NOT NULL,
    late BIGINT NOT NULL,
    is_told BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    told BLOB NOT NULL,
    PRIMARY KEY (tenant, device, epoch, lane, hour_us)
);
CREATE INDEX archive_hour_untold ON archive_hour (hour_us) WHERE is_told = 0;
