-- Another value of a rule for some, for a time: only ever added to, and ended once. No patient data but a pseudonym.
CREATE TABLE alert_override (
    override_id BIGINT PRIMARY KEY,
    tenant TEXT NOT NULL,
    site TEXT NOT NULL,
    subject TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    setting BIGINT NOT NULL,
    value TEXT NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    reason TEXT NOT NULL,
    set_by TEXT NOT NULL,
    set_at_us BIGINT NOT NULL,
    ended_by TEXT NOT NULL,
    ended_at_us BIGINT NOT NULL
);
CREATE INDEX alert_override_by_tenant ON alert_override (tenant, override_id);
INSERT INTO counter (name, last) VALUES ('alert_override', 0);
