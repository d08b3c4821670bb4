-- What full-text search finds entries by: the tokens of what they say (`im_core::rule::Scope`), with
-- a space between. Filled behind the log: see im_texted.
CREATE TABLE im_text (
    conv BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    words LONGTEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (conv, seq),
    FULLTEXT INDEX im_text_words (words)
) ENGINE = InnoDB;

-- How far each conversation is in it.
CREATE TABLE im_texted (
    conv BIGINT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB;
