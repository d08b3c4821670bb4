-- The small things beside the logs. `at`: when something is due with it. `slot`: that of the
-- conversation that it is placed with.
CREATE TABLE im_fact (
    kind TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    fact_key TEXT COLLATE "C" NOT NULL,
    value TEXT NOT NULL,
    at BIGINT,
    slot BIGINT NOT NULL,
    PRIMARY KEY (kind, owner, fact_key)
);
CREATE INDEX im_fact_at ON im_fact (kind, at) WHERE at IS NOT NULL;
CREATE INDEX im_fact_slot ON im_fact (slot, kind, owner, fact_key);

-- How often a node has started is one of them; its slot is that of "everyone".
INSERT INTO im_fact (kind, owner, fact_key, value, at, slot)
    SELECT 'start', '', '', CAST(starts AS TEXT), NULL, 359 FROM im_meta;
ALTER TABLE im_meta DROP COLUMN starts;

-- The least role that may speak, and how often entries of the log were erased.
ALTER TABLE im_conversation ADD COLUMN speaks TEXT NOT NULL DEFAULT 'member';
UPDATE im_conversation SET speaks = 'admin' WHERE kind = 'channel';
ALTER TABLE im_conversation ADD COLUMN erasures BIGINT NOT NULL DEFAULT 0;
