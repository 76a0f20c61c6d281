-- Serial of the certificate that this one was renewed from, or empty: asking again finds it.
ALTER TABLE certificate ADD COLUMN follows TEXT NOT NULL DEFAULT '';
CREATE INDEX certificate_by_follows ON certificate (follows) WHERE follows <> '';
