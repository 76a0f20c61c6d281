-- What was audited in a transaction of this database, or by a command beside the gateway. A relay journals it into the
-- gateway's audit chain. Ids rise in the order of commits: the counter's row is held until the transaction ends.
CREATE TABLE audit_outbox (
    id BIGINT PRIMARY KEY,
    at_us BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    outcome TEXT NOT NULL,
    target TEXT NOT NULL,
    relayed_at_us BIGINT
);
CREATE INDEX audit_outbox_pending ON audit_outbox (id) WHERE relayed_at_us IS NULL;
CREATE TABLE audit_outbox_counter (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    last BIGINT NOT NULL
);
INSERT INTO audit_outbox_counter (id, last) VALUES (1, 0);
-- Master keys whose making is in the outbox.
CREATE TABLE audit_key (
    key_id TEXT PRIMARY KEY,
    told_at_us BIGINT NOT NULL
);
