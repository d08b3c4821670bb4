-- What full-text search finds entries by: the tokens of what they say (`im_core::rule::Scope`), under
-- their `n`. Filled behind the log: see `texted`.
CREATE VIRTUAL TABLE im_text USING fts5 (
    words,
    content = '',
    contentless_delete = 1,
    detail = none,
    tokenize = 'ascii'
);
-- Entries up to this `n` are in it.
ALTER TABLE im_meta ADD COLUMN texted INTEGER NOT NULL DEFAULT 0;
