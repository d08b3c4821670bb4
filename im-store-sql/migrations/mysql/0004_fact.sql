-- The small things beside the logs. `at`: when something is due with it. `slot`: that of the
-- conversation that it is placed with.
CREATE TABLE im_fact (
    kind VARBINARY(32) NOT NULL,
    owner VARBINARY(512) NOT NULL,
    fact_key VARBINARY(1024) NOT NULL,
    value LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    at BIGINT,
    slot BIGINT NOT NULL,
    PRIMARY KEY (kind, owner, fact_key),
    INDEX im_fact_at (kind, at),
    INDEX im_fact_slot (slot, kind, owner, fact_key)
) ENGINE = InnoDB;

-- How often a node has started is one of them; its slot is that of "everyone".
INSERT INTO im_fact (kind, owner, fact_key, value, at, slot)
    SELECT 'start', '', '', starts, NULL, 359 FROM im_meta;
ALTER TABLE im_meta DROP COLUMN starts;

-- The least role that may speak, and how often entries of the log were erased.
ALTER TABLE im_conversation ADD COLUMN speaks VARBINARY(32) NOT NULL DEFAULT 'member';
UPDATE im_conversation SET speaks = 'admin' WHERE kind = 'channel';
ALTER TABLE im_conversation ADD COLUMN erasures BIGINT NOT NULL DEFAULT 0;
