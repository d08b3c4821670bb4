-- Who alone may change the log: a life of it in a hot tier, or nobody.
ALTER TABLE im_conversation ADD COLUMN holder INTEGER NOT NULL DEFAULT 0;
