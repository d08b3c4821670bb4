-- One database of several. A conversation's slot is the first two bytes of the SHA-256 of its id,
-- the higher first, modulo 1,024.
ALTER TABLE im_conversation ADD COLUMN slot BIGINT;
UPDATE im_conversation SET slot =
    ('x' || left(encode(sha256(convert_to(id, 'UTF8')), 'hex'), 4))::bit(16)::int % 1024;
ALTER TABLE im_conversation ALTER COLUMN slot SET NOT NULL;

-- With the direct conversation of the two.
ALTER TABLE im_block ADD COLUMN slot BIGINT;
UPDATE im_block SET slot = ('x' || left(encode(sha256(convert_to('d-' || left(encode(sha256(
    convert_to(least(user_id, other_id), 'UTF8') || '\x00'::bytea
    || convert_to(greatest(user_id, other_id), 'UTF8')), 'hex'), 32), 'UTF8')), 'hex'), 4)
    )::bit(16)::int % 1024;
ALTER TABLE im_block ALTER COLUMN slot SET NOT NULL;

-- With the conversation that the request wrote to. -1: kept before, and stays until it expires.
ALTER TABLE im_answer ADD COLUMN slot BIGINT NOT NULL DEFAULT -1;

-- Grows with every change of im_slot.
ALTER TABLE im_meta ADD COLUMN slots_version BIGINT NOT NULL DEFAULT 0;
-- Which databases belong together, and which of them this is, from 0; NULL: one alone.
ALTER TABLE im_meta ADD COLUMN shard_set BIGINT;
ALTER TABLE im_meta ADD COLUMN shard BIGINT;

-- What this database holds, when it is one of several.
CREATE TABLE im_slot (
    slot BIGINT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    -- open, closed (it goes to another), arriving (by a mover), gone (to be removed)
    phase TEXT NOT NULL,
    goes_to BIGINT,
    mover BIGINT,
    lease_until BIGINT
);
