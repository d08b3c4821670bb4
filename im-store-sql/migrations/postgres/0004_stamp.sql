-- Changes are numbered by a sequence: commits of several nodes don't wait for each other, and who
-- reads finds in pg_locks which numbers are still under way. Each transaction takes one number, the
-- base of up to 8,191 stamps; in a database that is one of several it is 1 above a multiple of
-- 8,192. A process of the version before is refused from here on.
LOCK TABLE im_meta;
CREATE SEQUENCE im_stamp INCREMENT BY 8192 MINVALUE 0 START WITH 0;
-- Above every stamp that was given.
SELECT setval('im_stamp', (stamp / 8192 + 1) * 8192 + CASE WHEN shard IS NULL THEN 0 ELSE 1 END)
FROM im_meta;
ALTER TABLE im_meta DROP COLUMN stamp;

-- Has its row until the server crashes, or another one takes over from it: what is not logged is
-- empty then. The numbers that were not yet on its disk would be given again.
CREATE UNLOGGED TABLE im_since_crash (one BIGINT PRIMARY KEY CHECK (one = 1));
INSERT INTO im_since_crash VALUES (1);
