-- Whether an hour was archived with holes: only such an hour, or one that changed itself, can say something else now.
ALTER TABLE archive_hour ADD COLUMN holes BIGINT NOT NULL DEFAULT 1;
