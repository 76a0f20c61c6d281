CREATE TABLE tenant (
    tenant TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at_us BIGINT NOT NULL
);
CREATE TABLE site (
    tenant TEXT NOT NULL,
    site TEXT NOT NULL,
    display_name TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, site)
);
CREATE TABLE device_model (
    model TEXT PRIMARY KEY,
    maker TEXT NOT NULL,
    display_name TEXT NOT NULL,
    profile TEXT NOT NULL,
    profile_version BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL
);
ALTER TABLE device ADD COLUMN site TEXT NOT NULL DEFAULT '';
ALTER TABLE device ADD COLUMN udi TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX device_by_serial ON device (model, serial_number) WHERE serial_number <> '';
-- A sensor behind a hub: it has no certificate, the hub speaks for it.
CREATE TABLE peripheral (
    tenant TEXT NOT NULL,
    hub TEXT NOT NULL,
    peripheral TEXT NOT NULL,
    model TEXT NOT NULL,
    serial_number TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, hub, peripheral)
);
ALTER TABLE certificate ADD COLUMN der BLOB;
ALTER TABLE certificate ADD COLUMN key_sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE certificate ADD COLUMN claim_id TEXT NOT NULL DEFAULT '';
ALTER TABLE certificate ADD COLUMN ca_id TEXT NOT NULL DEFAULT '';
ALTER TABLE certificate ADD COLUMN compromised_at_us BIGINT;
ALTER TABLE certificate ADD COLUMN reason TEXT NOT NULL DEFAULT '';
CREATE INDEX certificate_revoked ON certificate (not_after_us) WHERE revoked_at_us IS NOT NULL;
-- The secret itself is never kept.
CREATE TABLE claim (
    claim_id TEXT PRIMARY KEY,
    secret_sha256 TEXT NOT NULL UNIQUE,
    batch TEXT NOT NULL,
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    model TEXT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    used_at_us BIGINT,
    used_by_device TEXT NOT NULL,
    used_key_sha256 TEXT NOT NULL,
    certificate_serial TEXT NOT NULL,
    revoked_at_us BIGINT
);
CREATE INDEX claim_by_batch ON claim (tenant, batch);
CREATE TABLE manufacturer_ca (
    ca_id TEXT PRIMARY KEY,
    maker TEXT NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    pem TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    revoked_at_us BIGINT
);
CREATE TABLE manufacturer_serial (
    ca_id TEXT NOT NULL,
    serial_number TEXT NOT NULL,
    device TEXT NOT NULL,
    used_at_us BIGINT,
    used_key_sha256 TEXT NOT NULL,
    certificate_serial TEXT NOT NULL,
    PRIMARY KEY (ca_id, serial_number)
);
-- Who wore a device when, as it was known: only ever added to.
CREATE TABLE binding (
    binding_id BIGINT PRIMARY KEY,
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    subject TEXT NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    recorded_at_us BIGINT NOT NULL,
    recorded_by TEXT NOT NULL
);
CREATE INDEX binding_by_device ON binding (tenant, device, recorded_at_us);
CREATE TABLE principal (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    roles TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, name)
);
-- Numbers that rise.
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    last BIGINT NOT NULL
);
INSERT INTO counter (name, last) VALUES ('binding', 0);
