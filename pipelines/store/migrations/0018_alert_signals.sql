-- What is done about an alert, apart from its condition: no patient data, so in clear.
ALTER TABLE alert ADD COLUMN signal BLOB;
ALTER TABLE alert ADD COLUMN due_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE alert ADD COLUMN condition_id TEXT NOT NULL DEFAULT '';
ALTER TABLE alert_event ADD COLUMN said BLOB;
CREATE INDEX alert_due ON alert (due_us) WHERE due_us <> 0;
CREATE TABLE alert_pause (
    tenant TEXT NOT NULL,
    condition_id TEXT NOT NULL,
    priority BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    paused_by TEXT NOT NULL,
    PRIMARY KEY (tenant, condition_id)
);
-- Who listens, for which wards, with which lease.
CREATE TABLE alert_listener (
    tenant TEXT NOT NULL,
    listener TEXT NOT NULL,
    sites TEXT NOT NULL,
    state TEXT NOT NULL,
    lease_us BIGINT NOT NULL,
    leased_until_us BIGINT NOT NULL,
    behind_us BIGINT NOT NULL,
    opened_at_us BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    confirmed BIGINT NOT NULL,
    PRIMARY KEY (tenant, listener)
);
-- Which event was sent to whom, and who accepted it; 0 while nobody has.
CREATE TABLE alert_delivery (
    tenant TEXT NOT NULL,
    listener TEXT NOT NULL,
    cursor BIGINT NOT NULL,
    alert_id TEXT NOT NULL,
    sent_at_us BIGINT NOT NULL,
    times BIGINT NOT NULL,
    accepted_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, listener, cursor)
);
CREATE INDEX alert_delivery_open ON alert_delivery (tenant, listener, cursor) WHERE accepted_at_us = 0;
CREATE INDEX alert_delivery_of ON alert_delivery (tenant, alert_id);
CREATE INDEX alert_delivery_sent ON alert_delivery (sent_at_us);
-- Conditions of the watch over the alarm service itself that are present: each is raised once, whoever sees it.
CREATE TABLE alert_watch (
    tenant TEXT NOT NULL,
    condition_id TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    onset_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, condition_id)
);
