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
CREATE INDEX certificate_by_uri ON certificate (spiffe_uri);
-- One row: rises with every change of the two tables above, so that a front reloads only then.
CREATE TABLE registry_version (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL
);
INSERT INTO registry_version (id, version) VALUES (1, 1);
