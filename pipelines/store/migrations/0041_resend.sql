-- What an agent is asked to send again, and what it said to that. Ranges are `first-last`, parted by commas.
CREATE TABLE resend_request (
    id BIGINT PRIMARY KEY,
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    lane BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    ranges TEXT NOT NULL,
    frames BIGINT NOT NULL,
    asked_by TEXT NOT NULL,
    asked_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    sent_at_us BIGINT,
    answered_at_us BIGINT,
    resent BIGINT NOT NULL,
    not_held BIGINT NOT NULL,
    beyond BIGINT NOT NULL
);
CREATE INDEX resend_request_open ON resend_request (id) WHERE answered_at_us IS NULL;
CREATE INDEX resend_request_device ON resend_request (tenant, device);
INSERT INTO counter (name, last) VALUES ('resend', 0);
