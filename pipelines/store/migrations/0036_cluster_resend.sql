-- What a worker misses and a front is to publish again: one wish for each role and partition.
CREATE TABLE cluster_resend (
    front TEXT NOT NULL,
    partition_id BIGINT NOT NULL,
    role TEXT NOT NULL,
    first_number BIGINT NOT NULL,
    last_number BIGINT NOT NULL,
    PRIMARY KEY (front, partition_id, role)
);
-- One row: the topic that everything above counts in. Another number of partitions would move devices.
CREATE TABLE cluster_topic (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    partitions BIGINT NOT NULL
);
