//! Stamps: a sequence numbers the transactions, and advisory locks say which are under way.
//!
//! A transaction first holds a lock of its own kind, whose key is the last number that was given,
//! and then takes the next. Who reads looks at the last number *before* it looks at the locks.
//! So a number up to that one whose lock is not there was taken by a transaction that has ended:
//! the server makes a transaction visible before it lets its locks go. Whatever lies below the
//! lowest lock is therefore seen by every statement that begins later, and what others of the
//! server's transactions do, however long, counts for nothing.

use sqlx::postgres::PgConnection;

use crate::server::statement::{Arg, Longer, Statement};
use crate::text::own;

/// What a number is the base of: its stamps are those above it, below the next.
const STAMPS: i64 = 8_192;
/// Slots that share a lock: of all 1,024, a batch has at most 64 then, which is what the server has
/// room for by default for each transaction (`max_locks_per_transaction`).
const SLOTS_OF_A_LOCK: i64 = 16;
/// Numbers that are passed over after a crash of the server. Lost are those that were taken since
/// it last wrote to its disk, by transactions that were taken back: others wrote when they ended.
/// It writes five times a second at least.
const PASSED_OVER: i32 = 1_000;
// As in the texts below and in the migration. A batch has fewer commits, each with one stamp.
const _: () = assert!(crate::server::commit::COMMITS_MAX < STAMPS as usize);

/// The last number and, if the lowest under way is one below, that one; each with all its stamps.
/// Of a lock's key 32 bits are seen, so it is counted back from the last number; one above that was
/// taken since. The order is that of the nested loop, which needs the number for its inner side.
pub(super) const NEWEST: &str = "WITH n AS MATERIALIZED (\
     SELECT last_value / 8192 AS no FROM im_stamp) \
     SELECT n.no * 8192 + 8191, (n.no - coalesce(l.back, 0)) * 8192 + 8191 FROM n \
     CROSS JOIN LATERAL (SELECT max((n.no - l.objid::bigint) & 4294967295) AS back \
     FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = 'im_stamp'::regclass \
     AND l.objsubid = 2 AND ((n.no - l.objid::bigint) & 4294967295) < 2147483648) l";

/// Stamps the conversations of a slot, then those who left them.
const STAMP_SLOT: [&str; 2] = [
    "UPDATE im_conversation SET stamp = nextval('im_stamp') + 1 WHERE slot = $1",
    "UPDATE im_member m SET stamp = c.stamp FROM im_conversation c \
     WHERE c.no = m.conv AND m.left_seq IS NOT NULL AND c.slot = $1",
];

/// Two parts of a statement: `m` holds the lock, and `s` has the number, if `from` has a row.
macro_rules! take {
    ($from:literal) => {
        concat!(
            "m AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(\
             'im_stamp'::regclass::oid::bigint::bit(32)::int, \
             (last_value / 8192)::bit(32)::int) FROM im_stamp",
            $from,
            "), s AS MATERIALIZED (SELECT nextval('im_stamp') AS base FROM m)"
        )
    };
}

/// The end of [`append`](crate::server::dialect::Dialect::append), after the entries, which the
/// number waits for, so that it is under way for as short as can be. In a database that others have
/// made one of several, or if there is no number, the stamp is NULL, which its column refuses, so
/// that nothing stays of the statement.
pub(super) const STAMP_AND_LENGTHEN: &str = concat!(
    ", d AS MATERIALIZED (SELECT count(*) AS entries FROM e), ",
    take!(", d WHERE d.entries > 0"),
    " UPDATE im_conversation u SET head = k.head + (?::bigint[])[k.at], \
     stamp = CASE WHEN s.base % 8192 = 0 THEN s.base + (?::bigint[])[k.at] END \
     FROM k JOIN d ON d.entries > 0 LEFT JOIN s ON true WHERE u.no = k.no \
     RETURNING k.at, k.head, k.version"
);

/// See [`Dialect::stamp`](crate::server::dialect::Dialect::stamp).
pub(super) async fn stamp(
    conn: &mut PgConnection,
    is_shard: bool,
) -> Result<Option<i64>, sqlx::Error> {
    const TEXT: &str = concat!("WITH ", take!(""), " SELECT base FROM s");
    let base: i64 = sqlx::query_scalar(TEXT).fetch_one(conn).await?;
    Ok((is_shard || base % STAMPS == 0).then_some(base))
}

/// See [`Dialect::stamp_and_lengthen`](crate::server::dialect::Dialect::stamp_and_lengthen).
pub(super) fn stamp_and_lengthen(conversations: &[Longer]) -> Statement {
    const TEXT: &str = concat!(
        "WITH ",
        take!(""),
        " UPDATE im_conversation c SET head = k.head, stamp = s.base + k.stamp \
         FROM s, unnest(?::bigint[], ?::bigint[], ?::bigint[]) k (no, head, stamp) \
         WHERE c.no = k.no AND s.base % 8192 = 0 RETURNING 1"
    );
    longer(conversations)
        .into_iter()
        .fold(Statement::new(TEXT), Statement::bind)
}

/// Numbers, heads and stamps.
pub(super) fn longer(conversations: &[Longer]) -> [Arg; 3] {
    let column = |of: fn(&Longer) -> i64| {
        let values = conversations.iter().map(|it| Some(of(it)));
        Arg::Ints(values.collect())
    };
    [
        column(|it| it.no),
        column(|it| it.head),
        column(|it| it.stamp),
    ]
}

/// Each conversation takes a number of its own, as there may be any number of them.
pub(super) async fn stamp_slot(conn: &mut PgConnection, slot: i64) -> Result<(), sqlx::Error> {
    stamp(conn, true).await?;
    for text in STAMP_SLOT {
        sqlx::query(text).bind(slot).execute(&mut *conn).await?;
    }
    Ok(())
}

/// To alter a sequence waits for every transaction that has a number of it, and lets nobody have
/// the next until this one ends. A number that says "one of several" is seen by whoever gets it
/// then, also if their statement began before.
pub(super) async fn end_alone(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let alter = format!("ALTER SEQUENCE im_stamp INCREMENT BY {STAMPS}");
    sqlx::query(own(alter)).execute(&mut *conn).await?;
    let mark = "SELECT setval('im_stamp', last_value + 8192 + 1) FROM im_stamp";
    sqlx::query(mark).execute(conn).await?;
    Ok(())
}

/// Shared locks on slots, in their order. Whoever wants to have one for themselves is next when
/// those who have it are done: a queue of locks is fair, as the locks of rows are not.
pub(super) async fn hold_slots(conn: &mut PgConnection, slots: &[i64]) -> Result<(), sqlx::Error> {
    let mut locks: Vec<_> = slots.iter().map(|slot| slot / SLOTS_OF_A_LOCK).collect();
    locks.dedup();
    let text = "SELECT pg_advisory_xact_lock_shared(\
         'im_slot'::regclass::oid::bigint::bit(32)::int, lock::int) FROM unnest($1) lock";
    sqlx::query(text).bind(locks).execute(conn).await?;
    Ok(())
}

/// See [`Dialect::take_slot`](crate::server::dialect::Dialect::take_slot).
pub(super) async fn take_slot(conn: &mut PgConnection, slot: i64) -> Result<(), sqlx::Error> {
    let text = "SELECT pg_advisory_xact_lock(\
         'im_slot'::regclass::oid::bigint::bit(32)::int, $1::int)";
    let lock = slot / SLOTS_OF_A_LOCK;
    sqlx::query(text).bind(lock).execute(conn).await?;
    Ok(())
}

/// On each new connection, as a crash ends all: a token may cover numbers that were taken, and lost
/// with the server's memory. They must not be given again.
pub(super) async fn pass_over_lost(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let is_there = "SELECT to_regclass('im_since_crash') IS NOT NULL";
    if !sqlx::query_scalar(is_there).fetch_one(&mut *conn).await? {
        return Ok(());
    }
    let text = "WITH lost AS MATERIALIZED (SELECT max(nextval('im_stamp')) AS last \
         FROM generate_series(1, $1) WHERE NOT EXISTS (SELECT FROM im_since_crash)) \
         INSERT INTO im_since_crash SELECT 1 FROM lost WHERE last IS NOT NULL \
         ON CONFLICT DO NOTHING";
    sqlx::query(text).bind(PASSED_OVER).execute(conn).await?;
    Ok(())
}
