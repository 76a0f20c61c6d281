-- Which partitions of the bus have no file left with rows of an erasure: where there are several archive workers, each
-- rewrites the files of its own partitions, and the last of them ends the erasure.
CREATE TABLE erasure_part (
    erasure_id TEXT NOT NULL,
    partition_id BIGINT NOT NULL,
    PRIMARY KEY (erasure_id, partition_id)
);
