-- Who works on which partition. `epoch` rises with each holder, `beats` with each sign of life: nobody's clock counts.
-- `next_offset` counts the records of the partition that this role has worked on; `position` is where to read on.
CREATE TABLE cluster_lease (
    role TEXT NOT NULL,
    partition_id BIGINT NOT NULL,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    beats BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (role, partition_id)
);
-- Of each front's log the number that this role works on next, in a partition. Written with what was made of the records.
CREATE TABLE cluster_passage (
    role TEXT NOT NULL,
    partition_id BIGINT NOT NULL,
    front TEXT NOT NULL,
    next_number BIGINT NOT NULL,
    PRIMARY KEY (role, partition_id, front)
);
CREATE INDEX cluster_passage_by_front ON cluster_passage (front);
-- Who is there to take partitions of a role.
CREATE TABLE cluster_member (
    role TEXT NOT NULL,
    node TEXT NOT NULL,
    beats BIGINT NOT NULL,
    PRIMARY KEY (role, node)
);
