-- What each version of the registry changed, for nodes that follow it. A version without a row is one that nobody
-- wrote down: who meets it reads everything.
CREATE TABLE registry_change (
    version BIGINT NOT NULL,
    entry BIGINT NOT NULL,
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (version, entry)
);
