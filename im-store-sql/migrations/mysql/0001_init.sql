-- Ids are bytes: under a text collation `a`, `A`, `á` and `a ` may be one key, and a message is
-- lost. 512 bytes are 128 characters of four bytes each.

CREATE TABLE im_conversation (
    no BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id VARBINARY(512) NOT NULL UNIQUE,
    kind VARBINARY(32) NOT NULL,
    title LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    epoch BIGINT NOT NULL,
    head BIGINT NOT NULL,
    version BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    member_count BIGINT NOT NULL,
    hide_history BIGINT NOT NULL,
    stamp BIGINT NOT NULL,
    INDEX im_conversation_stamp (stamp)
) ENGINE = InnoDB;

CREATE TABLE im_member (
    conv BIGINT NOT NULL,
    user_id VARBINARY(512) NOT NULL,
    role VARBINARY(32) NOT NULL,
    first_seq BIGINT NOT NULL,
    left_seq BIGINT,
    version BIGINT NOT NULL,
    muted_until BIGINT,
    delivered_seq BIGINT NOT NULL,
    read_seq BIGINT NOT NULL,
    stamp BIGINT NOT NULL,
    PRIMARY KEY (conv, user_id),
    INDEX im_member_user (user_id, conv),
    INDEX im_member_stamp (stamp)
) ENGINE = InnoDB;

CREATE TABLE im_entry (
    conv BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    id BIGINT NOT NULL,
    sender VARBINARY(512) NOT NULL,
    at BIGINT NOT NULL,
    cm_id VARBINARY(256),
    digest BIGINT NOT NULL,
    kind VARBINARY(32) NOT NULL,
    body LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    reply_to BIGINT,
    mentions LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    expires_at BIGINT,
    PRIMARY KEY (conv, seq),
    UNIQUE INDEX im_entry_cm (conv, sender, cm_id)
) ENGINE = InnoDB;

CREATE TABLE im_block (
    user_id VARBINARY(512) NOT NULL,
    other_id VARBINARY(512) NOT NULL,
    PRIMARY KEY (user_id, other_id)
) ENGINE = InnoDB;

CREATE TABLE im_answer (
    user_id VARBINARY(512) NOT NULL,
    request_key VARBINARY(256) NOT NULL,
    value LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, request_key),
    INDEX im_answer_expiry (expires_at)
) ENGINE = InnoDB;

CREATE TABLE im_meta (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    -- The last stamp given. Whoever commits holds this row until they are done, so that stamps
    -- become visible in their order.
    stamp BIGINT NOT NULL,
    -- How often a node has started on this store.
    starts BIGINT NOT NULL
) ENGINE = InnoDB;
INSERT INTO im_meta VALUES (1, 0, 0);

-- For people who ask in SQL.
CREATE VIEW im_message AS
SELECT
    e.id AS id,
    CONVERT(e.sender USING utf8mb4) AS `from`,
    CONVERT(c.id USING utf8mb4) AS `to`,
    CASE c.kind WHEN 'group' THEN CONVERT(c.id USING utf8mb4) END AS `group`,
    CONVERT(e.kind USING utf8mb4) AS type,
    e.body AS content,
    e.at AS created
FROM im_entry e JOIN im_conversation c ON c.no = e.conv;

CREATE VIEW im_group AS
SELECT
    CONVERT(c.id USING utf8mb4) AS id,
    c.title AS name,
    (SELECT CONVERT(m.user_id USING utf8mb4) FROM im_member m
     WHERE m.conv = c.no AND m.role = 'owner' AND m.left_seq IS NULL LIMIT 1) AS owner,
    CASE WHEN c.member_count > 0 THEN 'open' ELSE 'empty' END AS status
FROM im_conversation c WHERE c.kind = 'group';

CREATE VIEW im_channel AS
SELECT CONVERT(c.id USING utf8mb4) AS id, c.title AS name, 'channel' AS type
FROM im_conversation c WHERE c.kind = 'channel';
