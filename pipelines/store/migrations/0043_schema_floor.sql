-- One row: the newest migration that a program has to know to work on this database. One that takes away or changes
-- what programs of before use raises it, in the same migration; the others leave it, so that programs of two releases
-- work side by side.
CREATE TABLE schema_floor (id BIGINT PRIMARY KEY CHECK (id = 1), least BIGINT NOT NULL);
INSERT INTO schema_floor (id, least) VALUES (1, 43);
