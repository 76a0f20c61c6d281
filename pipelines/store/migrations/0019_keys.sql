-- Nothing of a tenant under hold may be erased or shredded.
CREATE TABLE legal_hold (
    tenant TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    set_by TEXT NOT NULL,
    set_at_us BIGINT NOT NULL
);
-- Tenants whose keys were destroyed. Written before it is done: what is not done yet is done by asking again.
CREATE TABLE tenant_shred (
    tenant TEXT NOT NULL,
    asked_at_us BIGINT NOT NULL,
    done_at_us BIGINT,
    PRIMARY KEY (tenant, asked_at_us)
);
