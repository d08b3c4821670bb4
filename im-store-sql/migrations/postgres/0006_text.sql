-- What full-text search finds entries by: the tokens of what they say (`im_core::rule::Scope`), with
-- a space between. Filled behind the log: see im_texted.
CREATE TABLE im_text (
    conv BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    words TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (conv, seq)
);
-- Whoever searches reads what is still in the list of the pending.
CREATE INDEX im_text_words ON im_text
    USING gin (array_to_tsvector(string_to_array(words, ' '))) WITH (gin_pending_list_limit = 256);

-- How far each conversation is in it.
CREATE TABLE im_texted (
    conv BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
