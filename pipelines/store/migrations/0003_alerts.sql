-- What an alert is about is sealed (SEC-3); in clear stands only what orders, finds and fences.
CREATE TABLE alert_cursor (
    tenant TEXT PRIMARY KEY,
    last BIGINT NOT NULL
);
CREATE TABLE alert_event (
    tenant TEXT NOT NULL,
    cursor BIGINT NOT NULL,
    alert_id TEXT NOT NULL,
    stored_at_us BIGINT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant, cursor)
);
CREATE TABLE alert (
    tenant TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    onset_us BIGINT NOT NULL,
    ended_us BIGINT NOT NULL,
    cursor BIGINT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant, alert_id)
);
CREATE INDEX alert_newest ON alert (tenant, onset_us);
CREATE INDEX alert_present ON alert (tenant, onset_us) WHERE ended_us = 0;
CREATE TABLE alert_checkpoint (
    consumer TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    sealed BLOB NOT NULL
);
CREATE TABLE alert_device_state (
    consumer TEXT NOT NULL,
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (consumer, tenant, device)
);
