-- Ids are compared byte by byte: SQLite's BINARY collation, its default, does that.

CREATE TABLE im_conversation (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    title TEXT,
    epoch INTEGER NOT NULL,
    -- The last entry that is in the indexes; later ones stand in `im_entry` only: see `merged` in
    -- `im_meta`.
    head INTEGER NOT NULL,
    version INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    member_count INTEGER NOT NULL,
    hide_history INTEGER NOT NULL,
    stamp INTEGER NOT NULL
);
CREATE INDEX im_conversation_stamp ON im_conversation (stamp);

CREATE TABLE im_member (
    conv INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    left_seq INTEGER,
    version INTEGER NOT NULL,
    muted_until INTEGER,
    delivered_seq INTEGER NOT NULL,
    read_seq INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    PRIMARY KEY (conv, user_id)
) WITHOUT ROWID;
CREATE INDEX im_member_user ON im_member (user_id, conv);
-- Who left lately: their nodes may have to tell them.
CREATE INDEX im_member_left ON im_member (stamp) WHERE left_seq IS NOT NULL;

-- The log of every conversation in the order of commit; nothing but appended to. What finds an
-- entry by its place or by its cm_id is filled later, in sorted runs, by the merge.
CREATE TABLE im_entry (
    n INTEGER PRIMARY KEY,
    conv INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id INTEGER NOT NULL,
    sender TEXT NOT NULL,
    at INTEGER NOT NULL,
    cm_id TEXT,
    digest INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    reply_to INTEGER,
    mentions TEXT,
    expires_at INTEGER
);
CREATE TABLE im_entry_seq (
    conv INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (conv, seq)
) WITHOUT ROWID;
CREATE TABLE im_entry_cm (
    conv INTEGER NOT NULL,
    sender TEXT NOT NULL,
    cm_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (conv, sender, cm_id)
) WITHOUT ROWID;

CREATE TABLE im_block (
    user_id TEXT NOT NULL,
    other_id TEXT NOT NULL,
    PRIMARY KEY (user_id, other_id)
) WITHOUT ROWID;

CREATE TABLE im_answer (
    user_id TEXT NOT NULL,
    request_key TEXT NOT NULL,
    value TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, request_key)
) WITHOUT ROWID;
CREATE INDEX im_answer_expiry ON im_answer (expires_at);

CREATE TABLE im_meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- Entries up to this `n` are in the indexes.
    merged INTEGER NOT NULL,
    -- The last stamp given that is no entry's `n`.
    stamp INTEGER NOT NULL,
    -- How often a node has started on this store.
    starts INTEGER NOT NULL
);
INSERT INTO im_meta VALUES (1, 0, 0, 0);

-- For people who ask in SQL. An entry of the last moments is here before it is in the indexes.
CREATE VIEW im_message AS
SELECT
    e.id AS id,
    e.sender AS "from",
    c.id AS "to",
    CASE c.kind WHEN 'group' THEN c.id END AS "group",
    e.kind AS type,
    e.body AS content,
    e.at AS created
FROM im_entry e JOIN im_conversation c ON c.no = e.conv;

CREATE VIEW im_group AS
SELECT
    c.id AS id,
    c.title AS name,
    (SELECT m.user_id FROM im_member m
     WHERE m.conv = c.no AND m.role = 'owner' AND m.left_seq IS NULL) AS owner,
    CASE WHEN c.member_count > 0 THEN 'open' ELSE 'empty' END AS status
FROM im_conversation c WHERE c.kind = 'group';

CREATE VIEW im_channel AS
SELECT c.id AS id, c.title AS name, 'channel' AS type
FROM im_conversation c WHERE c.kind = 'channel';
