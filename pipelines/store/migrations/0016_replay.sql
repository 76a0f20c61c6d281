-- Frames of the quarantine that somebody asked to judge again, and what became of each.
CREATE TABLE archive_replay (
    tenant TEXT NOT NULL,
    partition_id BIGINT NOT NULL,
    journal_offset BIGINT NOT NULL,
    asked_at_us BIGINT NOT NULL,
    done_at_us BIGINT,
    outcome TEXT NOT NULL,
    PRIMARY KEY (tenant, partition_id, journal_offset)
);
CREATE INDEX archive_replay_waiting ON archive_replay (asked_at_us) WHERE done_at_us IS NULL;
