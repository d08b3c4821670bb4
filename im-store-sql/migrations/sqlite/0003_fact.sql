-- The small things beside the logs. `at`: when something is due with it.
CREATE TABLE im_fact (
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    fact_key TEXT NOT NULL,
    value TEXT NOT NULL,
    at INTEGER,
    PRIMARY KEY (kind, owner, fact_key)
) WITHOUT ROWID;
CREATE INDEX im_fact_at ON im_fact (kind, at) WHERE at IS NOT NULL;

-- How often a node has started is one of them.
INSERT INTO im_fact (kind, owner, fact_key, value, at) SELECT 'start', '', '', starts, NULL FROM im_meta;
ALTER TABLE im_meta DROP COLUMN starts;

-- The least role that may speak, and how often entries of the log were erased.
ALTER TABLE im_conversation ADD COLUMN speaks TEXT NOT NULL DEFAULT 'member';
UPDATE im_conversation SET speaks = 'admin' WHERE kind = 'channel';
ALTER TABLE im_conversation ADD COLUMN erasures INTEGER NOT NULL DEFAULT 0;
