//! MySQL and MariaDB: rows go in as lists of values. A statement's text depends on how many there
//! are, so they come in few sizes, and few texts are prepared. What is looked up, and numbers, go
//! in as one JSON text, which has no size: lists of keys are planned key by key, and cost more than
//! what they find.

use im_core::port::PortErrorKind;
use sqlx::error::DatabaseError;
use sqlx::mysql::{
    MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool, MySqlRow,
};
use sqlx::pool::PoolOptions;
use sqlx::{
    Arguments, Column as _, ConnectOptions as _, Connection as _, Executor as _, MySql, Row as _,
    TypeInfo as _, ValueRef as _,
};
mod text;

use std::str::FromStr;

use super::dialect::{Dialect, End};
use super::row::{Cell, Row};
use super::statement::{Appends, Arg, Longer, Look, Statement, Table};
use super::{Durability, ServerOptions};
use crate::search::expression;
use crate::text::own;

/// Most rows of one statement: of the widest table's twelve columns far below the 65,535 values
/// that a statement may have.
const ROWS_MAX: usize = 512;
/// Above this many rows, a statement has a multiple of it: at most two statements for what fits
/// one, and of a table at most 47 texts.
const ROWS_STEP: usize = 32;
/// The statements that a connection keeps prepared. The server's own bound, for all connections
/// together, is 16,382 unless it is set otherwise.
const STATEMENTS_MAX: usize = 200;

/// How a connection is set up: locks on what is there and not on what is not, and each statement
/// sees what is committed; what a column can't take is refused, and not put right.
const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
     SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')";
/// Stamps the conversations of a slot above a stamp, then those who left them.
const STAMP_SLOT: [&str; 2] = [
    "UPDATE im_conversation c JOIN \
     (SELECT no, ? + ROW_NUMBER() OVER (ORDER BY no) AS stamp \
     FROM im_conversation WHERE slot = ?) t ON t.no = c.no SET c.stamp = t.stamp",
    "UPDATE im_member m JOIN im_conversation c ON c.no = m.conv SET m.stamp = c.stamp \
     WHERE m.left_seq IS NOT NULL AND c.slot = ?",
];
/// A column that takes no NULL was given one.
const NULL_REFUSED: u16 = 1048;

/// The dialect of MySQL and MariaDB.
#[derive(Debug, Clone, Copy)]
pub struct MySqlDialect;

impl Dialect for MySqlDialect {
    type Db = MySql;
    const NAME: &'static str = "MySQL";
    const SCHEMES: &'static [&'static str] = &["mysql://", "mariadb://"];
    const MIGRATIONS: &'static [(&'static str, &'static str)] = &[
        ("init", include_str!("../../migrations/mysql/0001_init.sql")),
        ("hold", include_str!("../../migrations/mysql/0002_hold.sql")),
        ("slot", include_str!("../../migrations/mysql/0003_slot.sql")),
        ("fact", include_str!("../../migrations/mysql/0004_fact.sql")),
        ("text", include_str!("../../migrations/mysql/0005_text.sql")),
    ];
    const SHARD_INDEXES: &'static [&'static str] = &[];
    // Who commits holds the row until they are done.
    const NEWEST: &'static str = "SELECT stamp, stamp FROM im_meta";
    const HOLDS_SLOTS: bool = false;
    const MATCHED: &'static str = "WITH t AS (SELECT conv, seq FROM im_text \
         WHERE MATCH (words) AGAINST (? IN BOOLEAN MODE))";

    async fn connect(
        address: &str,
        options: &ServerOptions,
        pool: PoolOptions<MySql>,
    ) -> Result<MySqlPool, sqlx::Error> {
        if options.durability == Durability::Relaxed {
            // It is a setting of the whole server there, not of a connection.
            return Err(sqlx::Error::Configuration(
                "durability is the server's own setting: innodb_flush_log_at_trx_commit".into(),
            ));
        }
        let address = address.replacen("mariadb://", "mysql://", 1);
        let pool = pool.after_connect(|conn, _| {
            Box::pin(async move { conn.execute(SESSION).await.map(drop) })
        });
        let connect = MySqlConnectOptions::from_str(&address)?;
        let connect = connect.statement_cache_capacity(STATEMENTS_MAX);
        // The pool would go on trying, and then not say what was wrong.
        connect.connect().await?.close().await?;
        pool.connect_with(connect).await
    }

    async fn fetch(
        conn: &mut MySqlConnection,
        statement: Statement,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let (text, arguments) = ready(statement)?;
        let rows = sqlx::query_with(own(text), arguments)
            .fetch_all(conn)
            .await?;
        rows.iter().map(read).collect()
    }

    fn look_up(look: &Look<'_>, keys: Vec<Vec<Arg>>) -> Statement {
        let first = keys.first().map_or(&[][..], Vec::as_slice);
        let columns = first.iter().enumerate().map(|(at, key)| {
            let holds = match key {
                Arg::Int(_) | Arg::Ints(_) => "BIGINT",
                // As wide as the widest key. Bytes, as the columns are.
                Arg::Text(_) | Arg::Texts(_) => "VARBINARY(1024)",
            };
            format!("k{at} {holds} PATH '$[{at}]'")
        });
        let columns: Vec<_> = columns.collect();
        let same = look.columns.iter().enumerate();
        let same: Vec<_> = same.map(|(at, name)| format!("{name} = k{at}")).collect();
        // Key by key, in their order, and by the index, however few rows there are: what is passed
        // on the way would be locked with what is found.
        let text = format!(
            "SELECT {} FROM JSON_TABLE(?, '$[*]' COLUMNS ({})) k \
             STRAIGHT_JOIN {} FORCE INDEX ({}) ON {} WHERE 1 = 1",
            look.what,
            columns.join(", "),
            look.table,
            look.index,
            same.join(" AND ")
        );
        Statement::new(text).bind(Arg::Text(Some(text::json(&keys).into())))
    }

    async fn execute(conn: &mut MySqlConnection, text: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(text).execute(conn).await.map(drop)
    }

    fn lock_in_order(_: &str) -> String {
        // A look-up finds them in the order of its keys; to sort them would be work.
        " FOR UPDATE".to_owned()
    }

    fn any_of(columns: &[&str], mut rows: Vec<Vec<Arg>>) -> Statement {
        // What is asked for twice is found once.
        if let Some(last) = rows.last().cloned() {
            rows.resize(rows.len().next_power_of_two(), last);
        }
        let text = match columns {
            _ if rows.is_empty() => "1 = 0".to_owned(),
            [one] => format!("{one} IN ({})", vec!["?"; rows.len()].join(", ")),
            _ => {
                // Rows of several columns in a list are not looked up by MariaDB's indexes.
                let all: Vec<_> = columns.iter().map(|name| format!("{name} = ?")).collect();
                let one = format!("({})", all.join(" AND "));
                format!("({})", vec![one.as_str(); rows.len()].join(" OR "))
            }
        };
        Statement {
            text,
            args: rows.into_iter().flatten().collect(),
        }
    }

    fn write(table: &Table, mut rows: Vec<Vec<Arg>>) -> Vec<Statement> {
        let one = format!("({})", vec!["?"; table.columns.len()].join(", "));
        let mut over = String::new();
        if !table.key.is_empty() {
            let mut set: Vec<_> = table
                .others()
                .map(|name| format!("{name} = VALUES({name})"))
                .collect();
            if set.is_empty() {
                set = table
                    .key
                    .iter()
                    .map(|name| format!("{name} = {name}"))
                    .collect();
            }
            over = format!(" ON DUPLICATE KEY UPDATE {}", set.join(", "));
        }
        let mut statements = Vec::new();
        while !rows.is_empty() {
            let takes = match rows.len() {
                few @ 0..=ROWS_STEP => few,
                many => (many - many % ROWS_STEP).min(ROWS_MAX),
            };
            let rest = rows.split_off(takes);
            statements.push(Statement {
                text: format!(
                    "INSERT INTO {} ({}) VALUES {}{over}",
                    table.name,
                    table.names(),
                    vec![one.as_str(); takes].join(", ")
                ),
                args: rows.into_iter().flatten().collect(),
            });
            rows = rest;
        }
        statements
    }

    fn append(_: Appends) -> Option<Statement> {
        // No statement writes to two tables and gives rows, but in a stored procedure.
        None
    }

    async fn end(
        conn: &mut MySqlConnection,
        stamps: i64,
        entries: &[Vec<Arg>],
        conversations: &[Longer],
    ) -> Result<End, sqlx::Error> {
        let Some(texts) = text::end(stamps, entries, conversations) else {
            return Ok(End::NotSo);
        };
        for text in texts {
            match sqlx::raw_sql(own(text)).execute(&mut *conn).await {
                Ok(_) => {}
                Err(sqlx::Error::Database(error)) if number(error.as_ref()) == NULL_REFUSED => {
                    return Ok(End::Moved);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(End::Done)
    }

    async fn stamp_and_lengthen(
        conn: &mut MySqlConnection,
        stamps: i64,
        conversations: &[Longer],
    ) -> Result<bool, sqlx::Error> {
        let text = text::stamp_and_lengthen(stamps, conversations);
        let found = sqlx::raw_sql(own(text))
            .execute(conn)
            .await?
            .rows_affected();
        // Of both statements: the conversations, and the row of the stamps.
        Ok(found > conversations.len() as u64)
    }

    fn lengthen(conversations: &[Longer]) -> Statement {
        Statement::new(text::lengthen("0", conversations))
    }

    fn any_with_all(asked: &[Vec<(String, bool)>]) -> String {
        expression(asked, " ", " ", |token, is_prefix| match is_prefix {
            true => format!("+{token}*"),
            false => format!("+{token}"),
        })
    }

    fn is_in_the_way(error: &sqlx::Error) -> bool {
        let error = error.as_database_error();
        // Record has changed since last read (MariaDB 11.6 on, to a locking read in a host's
        // transaction), duplicate entry, lock wait timeout, deadlock.
        error.is_some_and(|error| matches!(number(error), 1020 | 1062 | 1205 | 1213))
    }

    /// See <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
    fn kind(error: &dyn DatabaseError) -> PortErrorKind {
        match number(error) {
            // Disk full, out of memory or resources, table full.
            1021 | 1037 | 1038 | 1041 | 1114 => PortErrorKind::Exhausted,
            // A packet, or a column's value, beyond the largest.
            1153 | 1406 => PortErrorKind::TooLarge,
            // Connections, shutdown, locks, killed, only reading.
            1040
            | 1053
            | 1077
            | 1152
            | 1158..=1161
            | 1184
            | 1205
            | 1213
            | 1290
            | 1317
            | 1836
            | 1927
            | 1969 => PortErrorKind::Unavailable,
            _ => PortErrorKind::Internal,
        }
    }

    fn expire(now: i64) -> Statement {
        Statement::new("DELETE FROM im_answer WHERE expires_at <= ? ORDER BY expires_at LIMIT 8")
            .bind(now)
    }

    async fn advance(
        conn: &mut MySqlConnection,
        column: &'static str,
        by: i64,
        condition: &'static str,
    ) -> Result<Option<i64>, sqlx::Error> {
        // An expression given to LAST_INSERT_ID comes back with the statement's own answer.
        let text =
            format!("UPDATE im_meta SET {column} = LAST_INSERT_ID({column} + ?) WHERE {condition}");
        let done = sqlx::query(own(text)).bind(by).execute(conn).await?;
        // Found, that is, also when it stays as it is.
        Ok((done.rows_affected() > 0).then(|| done.last_insert_id() as i64))
    }

    async fn stamp(
        conn: &mut MySqlConnection,
        stamps: i64,
        is_shard: bool,
    ) -> Result<Option<i64>, sqlx::Error> {
        let condition = match is_shard {
            true => "one = 1",
            false => "shard IS NULL",
        };
        let last = Self::advance(conn, "stamp", stamps, condition).await?;
        Ok(last.map(|last| last - stamps))
    }

    async fn stamp_slot(conn: &mut MySqlConnection, slot: i64) -> Result<(), sqlx::Error> {
        let count = "SELECT count(*) FROM im_conversation WHERE slot = ?";
        let count: i64 = sqlx::query_scalar(count)
            .bind(slot)
            .fetch_one(&mut *conn)
            .await?;
        let base = Self::stamp(conn, count, true).await?;
        let [conversations, left] = STAMP_SLOT;
        let base = sqlx::query(conversations).bind(base.unwrap_or_default());
        base.bind(slot).execute(&mut *conn).await?;
        sqlx::query(left).bind(slot).execute(conn).await?;
        Ok(())
    }

    // The row of the stamps is locked already, by the version of what the database holds.

    async fn end_alone(_: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn hold_slots(_: &mut MySqlConnection, _: &[i64]) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn take_slot(_: &mut MySqlConnection, _: i64) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

fn number(error: &dyn DatabaseError) -> u16 {
    let error = error.try_downcast_ref::<MySqlDatabaseError>();
    error.map_or(0, MySqlDatabaseError::number)
}

fn ready(statement: Statement) -> Result<(String, MySqlArguments), sqlx::Error> {
    let mut arguments = MySqlArguments::default();
    for arg in statement.args {
        let added = match arg {
            Arg::Int(value) => arguments.add(value),
            Arg::Text(value) => arguments.add(value.as_deref()),
            Arg::Ints(_) | Arg::Texts(_) => Err("MySQL has no arrays".into()),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok((statement.text, arguments))
}

fn read(row: &MySqlRow) -> Result<Row, sqlx::Error> {
    let cells = row.columns().iter().map(|column| {
        let at = column.ordinal();
        let raw = row.try_get_raw(at)?;
        if raw.is_null() {
            return Ok(Cell::Null);
        }
        match raw.type_info().name() {
            "BIGINT" | "INT" | "MEDIUMINT" | "SMALLINT" | "TINYINT" => {
                row.try_get(at).map(Cell::Int)
            }
            _ => {
                let bytes: Vec<u8> = row.try_get_unchecked(at)?;
                let text = String::from_utf8(bytes);
                text.map(Cell::Text)
                    .map_err(|error| sqlx::Error::Decode(error.into()))
            }
        }
    });
    cells.collect()
}
