//! What PostgreSQL and MySQL do each in their own way.

use std::fmt::Debug;
use std::future::Future;

use im_core::port::PortErrorKind;
use sqlx::error::DatabaseError;
use sqlx::migrate::Migrate;
use sqlx::pool::PoolOptions;
use sqlx::{Database, Pool};

use super::ServerOptions;
use super::row::Row;
use super::statement::{Appends, Arg, Longer, Look, Statement, Table};

/// The connection of a dialect.
pub type Conn<D> = <<D as Dialect>::Db as Database>::Connection;

/// What [`Dialect::end`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is committed.
    Done,
    /// Nothing: the database does not do that, or not with that much.
    NotSo,
    /// The database is one of several: the transaction must not go on.
    Moved,
}

/// A kind of database server. This crate has all there are.
pub trait Dialect: Debug + Send + Sync + Sized + 'static {
    /// The driver.
    type Db: Database<Connection: Migrate>;

    /// What it is called.
    const NAME: &'static str;
    /// How its addresses begin.
    const SCHEMES: &'static [&'static str];
    /// Every schema that this version knows, in order: a name and a text. A change is a new one.
    const MIGRATIONS: &'static [(&'static str, &'static str)];

    /// Opens a pool.
    #[doc(hidden)]
    fn connect(
        address: &str,
        options: &ServerOptions,
        pool: PoolOptions<Self::Db>,
    ) -> impl Future<Output = Result<Pool<Self::Db>, sqlx::Error>> + Send;

    /// Runs a statement, and gives its rows, if it has any.
    #[doc(hidden)]
    fn fetch(
        conn: &mut Conn<Self>,
        statement: Statement,
    ) -> impl Future<Output = Result<Vec<Row>, sqlx::Error>> + Send;

    /// Runs a text that gives no rows.
    #[doc(hidden)]
    fn execute(
        conn: &mut Conn<Self>,
        text: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// What a [`look_up`](Self::look_up) ends with so that rows are locked in the order of these
    /// columns, which are its key's, when its keys come in that order.
    #[doc(hidden)]
    fn lock_in_order(of: &str) -> String;

    /// The rows whose key is one of these, at least one. More conditions may follow, with `AND`.
    /// Where the database locks rows as it finds them, it does so in the order of the keys.
    #[doc(hidden)]
    fn look_up(look: &Look<'_>, keys: Vec<Vec<Arg>>) -> Statement;

    /// A condition: the columns hold one of these rows.
    #[doc(hidden)]
    fn any_of(columns: &[&str], rows: Vec<Vec<Arg>>) -> Statement;

    /// Statements that write all rows.
    #[doc(hidden)]
    fn write(table: &Table, rows: Vec<Vec<Arg>>) -> Vec<Statement>;

    /// One statement, a transaction of its own, that appends the batch if every conversation is
    /// there, free, and of the version expected, and then gives each one's place among the batch's,
    /// the head that it had, and its version. Otherwise it gives nothing, or fails, and has written
    /// nothing. `None`: the database has no such statement.
    #[doc(hidden)]
    fn append(appends: Appends) -> Option<Statement>;

    /// Writes entries and conversations that got longer, whose stamps count from the last one given
    /// before, takes so many stamps and commits, in as few trips as can
    /// be.
    #[doc(hidden)]
    fn end(
        conn: &mut Conn<Self>,
        stamps: i64,
        entries: &[Vec<Arg>],
        conversations: &[Longer],
    ) -> impl Future<Output = Result<End, sqlx::Error>> + Send;

    /// Takes so many stamps and writes conversations that got longer, whose stamps count from the
    /// last one given before. `false`: the database is one of several, and the transaction must not
    /// be committed.
    #[doc(hidden)]
    fn stamp_and_lengthen(
        conn: &mut Conn<Self>,
        stamps: i64,
        conversations: &[Longer],
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Writes what has changed of conversations that got longer.
    #[doc(hidden)]
    fn lengthen(conversations: &[Longer]) -> Statement;

    /// The rows of the full-text index that match an expression, as a table `t` of `conv`, `seq`.
    #[doc(hidden)]
    const MATCHED: &'static str;

    /// An expression of the full-text index: any of these that has all of its tokens, each with
    /// whether longer ones count as well.
    #[doc(hidden)]
    fn any_with_all(asked: &[Vec<(String, bool)>]) -> String;

    /// Whether the same transaction may succeed when it is run again: another one was in the way.
    #[doc(hidden)]
    fn is_in_the_way(error: &sqlx::Error) -> bool;

    /// Takes away a few answers that have expired.
    #[doc(hidden)]
    fn expire(now: i64) -> Statement;

    /// What an error of the server means.
    #[doc(hidden)]
    fn kind(error: &dyn DatabaseError) -> PortErrorKind;

    /// What finds the rows of a slot, made when a database becomes one of several, if it would
    /// cost those something that are one alone.
    #[doc(hidden)]
    const SHARD_INDEXES: &'static [&'static str];

    /// Whether [`hold_slots`](Self::hold_slots) does so; where it does not, whoever turns a slot
    /// takes what numbers the changes, and a commit looks again when it has that.
    #[doc(hidden)]
    const HOLDS_SLOTS: bool;

    /// Gives two stamps. No row that was written when it was asked for has one above the first.
    /// Every transaction that wrote any up to the second has ended: what it wrote is seen by
    /// statements that begin later.
    #[doc(hidden)]
    const NEWEST: &'static str;

    /// Moves the column of `im_meta` on by so much if the condition holds, and gives what it is
    /// then. Holds its row until the transaction ends.
    #[doc(hidden)]
    fn advance(
        conn: &mut Conn<Self>,
        column: &'static str,
        by: i64,
        condition: &'static str,
    ) -> impl Future<Output = Result<Option<i64>, sqlx::Error>> + Send;

    /// Takes so many stamps, at most one for each commit of a batch, and gives what they count
    /// from; of none, if it is one of several, just the right to commit where that goes with
    /// stamps. `None`: the database is one of several, and they were taken for one alone.
    #[doc(hidden)]
    fn stamp(
        conn: &mut Conn<Self>,
        stamps: i64,
        is_shard: bool,
    ) -> impl Future<Output = Result<Option<i64>, sqlx::Error>> + Send;

    /// Gives new stamps to the conversations of a slot, one each, and to those who left them.
    #[doc(hidden)]
    fn stamp_slot(
        conn: &mut Conn<Self>,
        slot: i64,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Waits for those who commit to the database as to one alone, and refuses who comes later.
    #[doc(hidden)]
    fn end_alone(conn: &mut Conn<Self>) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Keeps slots, in their order, as they are until the transaction ends.
    #[doc(hidden)]
    fn hold_slots(
        conn: &mut Conn<Self>,
        slots: &[i64],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Waits for those who hold a slot, and keeps out who comes later.
    #[doc(hidden)]
    fn take_slot(
        conn: &mut Conn<Self>,
        slot: i64,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}
