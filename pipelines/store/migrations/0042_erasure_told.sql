-- What each archive worker tells of an erasure, by partition of the bus: files that it has still to look at, and what is
-- in its way. The erasure's own row is their sum.
CREATE TABLE erasure_told (
    erasure_id TEXT NOT NULL,
    partition_id BIGINT NOT NULL,
    files_left BIGINT NOT NULL,
    problem TEXT NOT NULL,
    PRIMARY KEY (erasure_id, partition_id)
);
