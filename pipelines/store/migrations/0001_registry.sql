CREATE TABLE device (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    model TEXT NOT NULL,
    serial_number TEXT NOT NULL,
    state TEXT NOT NULL,
    for_test BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, device)
);
CREATE TABLE certificate (
    serial TEXT PRIMARY KEY,
    spiffe_uri TEXT NOT NULL,
    not_before_us BIGINT NOT NULL,
    not_after_us BIGINT NOT NULL,
    revoked_at_us BIGINT
);
