-- What a listener filters away of its wards (priority, kinds, devices); empty when it hears all: only then is a ward heard.
ALTER TABLE alert_listener ADD COLUMN misses TEXT NOT NULL DEFAULT '';
