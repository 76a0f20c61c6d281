-- How far the audit chain of each node is archived; moved by the commit that archives its events.
CREATE TABLE archive_audit_head (
    node TEXT PRIMARY KEY,
    n BIGINT NOT NULL,
    hash BLOB NOT NULL,
    outbox_id BIGINT NOT NULL,
    committed_at_us BIGINT NOT NULL
);
