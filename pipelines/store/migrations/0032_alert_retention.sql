-- The greatest cursor of each tenant's log that was forgotten: who resumes before it has a gap, and is told so.
ALTER TABLE alert_cursor ADD COLUMN forgotten BIGINT NOT NULL DEFAULT 0;
CREATE INDEX alert_event_stored ON alert_event (stored_at_us);
CREATE INDEX alert_event_of ON alert_event (tenant, alert_id);
