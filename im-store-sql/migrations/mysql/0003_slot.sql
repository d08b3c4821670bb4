-- One database of several. A conversation's slot is the first two bytes of the SHA-256 of its id,
-- the higher first, modulo 1,024.
ALTER TABLE im_conversation ADD COLUMN slot BIGINT;
UPDATE im_conversation SET slot =
    CAST(CONV(LEFT(SHA2(id, 256), 4), 16, 10) AS UNSIGNED) % 1024;
ALTER TABLE im_conversation MODIFY COLUMN slot BIGINT NOT NULL;
-- No index of rows that change with every message holds what they change.
CREATE INDEX im_conversation_slot ON im_conversation (slot, id);

-- With the direct conversation of the two.
ALTER TABLE im_block ADD COLUMN slot BIGINT;
UPDATE im_block SET slot = CAST(CONV(LEFT(SHA2(CONCAT('d-', LEFT(SHA2(CONCAT(
    LEAST(user_id, other_id), UNHEX('00'), GREATEST(user_id, other_id)), 256), 32)), 256), 4),
    16, 10) AS UNSIGNED) % 1024;
ALTER TABLE im_block MODIFY COLUMN slot BIGINT NOT NULL;
CREATE INDEX im_block_slot ON im_block (slot);

-- With the conversation that the request wrote to. -1: kept before, and stays until it expires.
ALTER TABLE im_answer ADD COLUMN slot BIGINT NOT NULL DEFAULT -1;
CREATE INDEX im_answer_slot ON im_answer (slot);

-- Grows with every change of im_slot.
ALTER TABLE im_meta ADD COLUMN slots_version BIGINT NOT NULL DEFAULT 0;
-- Which databases belong together, and which of them this is, from 0; NULL: one alone.
ALTER TABLE im_meta ADD COLUMN shard_set BIGINT;
ALTER TABLE im_meta ADD COLUMN shard BIGINT;

-- What this database holds, when it is one of several.
CREATE TABLE im_slot (
    slot BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    -- open, closed (it goes to another), arriving (by a mover), gone (to be removed)
    phase VARBINARY(32) NOT NULL,
    goes_to BIGINT,
    mover BIGINT,
    lease_until BIGINT
) ENGINE = InnoDB;
