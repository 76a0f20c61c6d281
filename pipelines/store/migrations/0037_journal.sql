-- One row: the journal that the positions of a gateway without a cluster count in.
CREATE TABLE journal_origin (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    journal TEXT NOT NULL,
    bound_at_us BIGINT NOT NULL
);
