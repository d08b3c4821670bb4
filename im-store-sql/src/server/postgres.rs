//! PostgreSQL: rows go in as arrays, one for each column, so that a statement has one text
//! whatever the number of rows, and is planned once.

mod stamp;

use std::str::FromStr;

use im_core::port::PortErrorKind;
use sqlx::error::DatabaseError;
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgRow};
use sqlx::{
    Arguments, Column as _, ConnectOptions as _, Connection as _, Postgres, Row as _,
    TypeInfo as _, ValueRef as _,
};

use super::dialect::{Dialect, End};
use super::row::{Cell, Row};
use super::statement::{Appends, Arg, ENTRY, Holds, Longer, Look, Statement, Table};
use super::{Durability, ServerOptions};
use crate::search::expression;
use crate::text::own;

/// [`Dialect::append`] up to the entries: the conversations' rows, locked in the order of their ids
/// and thereby the newest; then what the entries need of them, if all are there and as expected.
const LOCK: &str = "WITH c AS MATERIALIZED (\
     SELECT no, id, head, version FROM im_conversation \
     WHERE id = ANY(?::text[]) AND holder = 0 ORDER BY id FOR UPDATE), \
     k AS MATERIALIZED (SELECT c.*, row_number() OVER (ORDER BY id) AS at FROM c), \
     ok AS MATERIALIZED (SELECT array_agg(no ORDER BY at) AS numbers, \
     array_agg(head ORDER BY at) AS heads FROM k HAVING count(*) = ? \
     AND bool_and(coalesce((?::bigint[])[at] = version, true)))";
/// The PostgreSQL dialect.
#[derive(Debug, Clone, Copy)]
pub struct PostgresDialect;

impl Dialect for PostgresDialect {
    type Db = Postgres;
    const NAME: &'static str = "PostgreSQL";
    const SCHEMES: &'static [&'static str] = &["postgres://", "postgresql://"];
    const MIGRATIONS: &'static [(&'static str, &'static str)] = &[
        (
            "init",
            include_str!("../../migrations/postgres/0001_init.sql"),
        ),
        (
            "hold",
            include_str!("../../migrations/postgres/0002_hold.sql"),
        ),
        (
            "slot",
            include_str!("../../migrations/postgres/0003_slot.sql"),
        ),
        (
            "stamp",
            include_str!("../../migrations/postgres/0004_stamp.sql"),
        ),
        (
            "fact",
            include_str!("../../migrations/postgres/0005_fact.sql"),
        ),
        (
            "text",
            include_str!("../../migrations/postgres/0006_text.sql"),
        ),
    ];
    // A row's new version goes into every index of its table.
    const SHARD_INDEXES: &'static [&'static str] = &[
        "CREATE INDEX IF NOT EXISTS im_conversation_slot ON im_conversation (slot, id)",
        "CREATE INDEX IF NOT EXISTS im_block_slot ON im_block (slot)",
        "CREATE INDEX IF NOT EXISTS im_answer_slot ON im_answer (slot)",
    ];
    const NEWEST: &'static str = stamp::NEWEST;
    const HOLDS_SLOTS: bool = true;
    // By itself, so that nothing but the index is a way to find them.
    const MATCHED: &'static str = "WITH t AS MATERIALIZED (SELECT conv, seq FROM im_text \
         WHERE array_to_tsvector(string_to_array(words, ' ')) @@ ?::tsquery)";

    async fn connect(
        address: &str,
        options: &ServerOptions,
        pool: PoolOptions<Postgres>,
    ) -> Result<PgPool, sqlx::Error> {
        let commit = match options.durability {
            Durability::Committed => "on",
            Durability::Relaxed => "off",
        };
        let connect = PgConnectOptions::from_str(address)?.options([
            ("synchronous_commit", commit),
            ("default_transaction_isolation", "read committed"),
            // Not that a table of the migrations is there already.
            ("client_min_messages", "warning"),
            // Rows are found by keys. A plan is kept, and one that was made while a table was small
            // would go on reading it whole, with every dead version of rows that change with each
            // message. The second, since what has no other way (a sequence) looks dear then.
            ("enable_seqscan", "off"),
            ("jit", "off"),
        ]);
        // The pool would go on trying, and then not say what was wrong.
        connect.connect().await?.close().await?;
        let pool = pool.after_connect(|conn, _| Box::pin(stamp::pass_over_lost(conn)));
        pool.connect_with(connect).await
    }

    async fn fetch(conn: &mut PgConnection, statement: Statement) -> Result<Vec<Row>, sqlx::Error> {
        let (text, arguments) = ready(statement)?;
        let rows = sqlx::query_with(own(text), arguments)
            .fetch_all(conn)
            .await?;
        rows.iter().map(read).collect()
    }

    fn look_up(look: &Look<'_>, keys: Vec<Vec<Arg>>) -> Statement {
        let select = format!("SELECT {} FROM {} WHERE ", look.what, look.table);
        Statement::new(select).join(Self::any_of(look.columns, keys))
    }

    async fn execute(conn: &mut PgConnection, text: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(text).execute(conn).await.map(drop)
    }

    fn lock_in_order(of: &str) -> String {
        format!(" ORDER BY {of} FOR UPDATE")
    }

    fn any_of(columns: &[&str], rows: Vec<Vec<Arg>>) -> Statement {
        let arrays = columns_of(rows, columns.len());
        let marks = vec!["?"; columns.len()].join(", ");
        let text = match columns {
            [one] => format!("{one} = ANY(?)"),
            _ => format!(
                "({}) IN (SELECT * FROM unnest({marks}))",
                columns.join(", ")
            ),
        };
        Statement { text, args: arrays }
    }

    fn write(table: &Table, rows: Vec<Vec<Arg>>) -> Vec<Statement> {
        if rows.is_empty() {
            return Vec::new();
        }
        let (rows, args) = unnest(table, rows);
        let mut text = format!(
            "INSERT INTO {} ({}) SELECT * FROM {rows}",
            table.name,
            table.names(),
        );
        if !table.key.is_empty() {
            let set: Vec<_> = table
                .others()
                .map(|name| format!("{name} = EXCLUDED.{name}"))
                .collect();
            let then = if set.is_empty() {
                "NOTHING".to_owned()
            } else {
                format!("UPDATE SET {}", set.join(", "))
            };
            text.push_str(&format!(
                " ON CONFLICT ({}) DO {then}",
                table.key.join(", ")
            ));
        }
        vec![Statement { text, args }]
    }

    fn append(appends: Appends) -> Option<Statement> {
        let names = ENTRY.names();
        let values = ENTRY.columns.iter().map(|(name, _)| match *name {
            "conv" => "ok.numbers[x.conv]".to_owned(),
            "seq" => "ok.heads[x.conv] + x.seq".to_owned(),
            name => format!("x.{name}"),
        });
        let values: Vec<_> = values.collect();
        let (entries, args) = unnest(&ENTRY, appends.entries);
        let statement = Statement::new(LOCK)
            .bind(appends.ids)
            .bind(appends.conversations)
            .bind(appends.versions)
            .then(&format!(
                ", e AS (INSERT INTO im_entry ({names}) SELECT {} FROM ok, {entries} x ({names}) \
                 RETURNING 1)",
                values.join(", ")
            ));
        let statement = args.into_iter().fold(statement, Statement::bind);
        Some(
            statement
                .then(stamp::STAMP_AND_LENGTHEN)
                .bind(appends.counts)
                .bind(appends.stamps),
        )
    }

    async fn end(
        _: &mut PgConnection,
        _: i64,
        _: &[Vec<Arg>],
        _: &[Longer],
    ) -> Result<End, sqlx::Error> {
        // What could be ended so has taken `append`'s way.
        Ok(End::NotSo)
    }

    async fn stamp_and_lengthen(
        conn: &mut PgConnection,
        _: i64,
        conversations: &[Longer],
    ) -> Result<bool, sqlx::Error> {
        let statement = stamp::stamp_and_lengthen(conversations);
        Ok(!Self::fetch(conn, statement).await?.is_empty())
    }

    fn lengthen(conversations: &[Longer]) -> Statement {
        Statement {
            text: "UPDATE im_conversation c SET head = k.head, stamp = k.stamp \
                   FROM unnest(?::bigint[], ?::bigint[], ?::bigint[]) k (no, head, stamp) \
                   WHERE c.no = k.no"
                .to_owned(),
            args: stamp::longer(conversations).into(),
        }
    }

    fn any_with_all(asked: &[Vec<(String, bool)>]) -> String {
        expression(asked, " | ", " & ", |token, is_prefix| match is_prefix {
            true => format!("{token}:*"),
            false => token.to_owned(),
        })
    }

    fn is_in_the_way(error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        // Serialization failure, deadlock, unique violation:
        // <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
        matches!(code.as_deref(), Some("40001" | "40P01" | "23505"))
    }

    fn kind(error: &dyn DatabaseError) -> PortErrorKind {
        let code = error.code().unwrap_or_default();
        match (code.get(..2).unwrap_or_default(), &*code) {
            (_, "53100" | "53200") => PortErrorKind::Exhausted,
            (_, "54000" | "22001") => PortErrorKind::TooLarge,
            // Connections, locks, resources, an operator at work, a server that only reads.
            ("08" | "40" | "53" | "55" | "57" | "58", _) | (_, "25006") => {
                PortErrorKind::Unavailable
            }
            ("XX", _) => PortErrorKind::Corrupt,
            _ => PortErrorKind::Internal,
        }
    }

    fn expire(now: i64) -> Statement {
        Statement::new(
            "DELETE FROM im_answer WHERE (user_id, request_key) IN \
             (SELECT user_id, request_key FROM im_answer WHERE expires_at <= ? \
             LIMIT 8 FOR UPDATE SKIP LOCKED)",
        )
        .bind(now)
    }

    async fn advance(
        conn: &mut PgConnection,
        column: &'static str,
        by: i64,
        condition: &'static str,
    ) -> Result<Option<i64>, sqlx::Error> {
        let text = format!(
            "UPDATE im_meta SET {column} = {column} + $1 WHERE {condition} RETURNING {column}"
        );
        let moved = sqlx::query_scalar(own(text)).bind(by);
        moved.fetch_optional(conn).await
    }

    async fn stamp(
        conn: &mut PgConnection,
        stamps: i64,
        is_shard: bool,
    ) -> Result<Option<i64>, sqlx::Error> {
        match stamps {
            0 => Ok(Some(0)),
            _ => stamp::stamp(conn, is_shard).await,
        }
    }

    async fn stamp_slot(conn: &mut PgConnection, slot: i64) -> Result<(), sqlx::Error> {
        stamp::stamp_slot(conn, slot).await
    }

    async fn end_alone(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        stamp::end_alone(conn).await
    }

    async fn hold_slots(conn: &mut PgConnection, slots: &[i64]) -> Result<(), sqlx::Error> {
        stamp::hold_slots(conn, slots).await
    }

    async fn take_slot(conn: &mut PgConnection, slot: i64) -> Result<(), sqlx::Error> {
        stamp::take_slot(conn, slot).await
    }
}

/// A table's rows as the function that makes them of arrays, and the arrays.
fn unnest(table: &Table, rows: Vec<Vec<Arg>>) -> (String, Vec<Arg>) {
    let marks = table.columns.iter().map(|(_, holds)| match holds {
        Holds::Ints => "?::bigint[]",
        Holds::Texts => "?::text[]",
    });
    let marks: Vec<_> = marks.collect();
    let mut args = columns_of(rows, table.columns.len());
    // A column without any value still has its type.
    for (arg, (_, holds)) in args.iter_mut().zip(table.columns) {
        if let (Arg::Ints(values), Holds::Texts) = (&*arg, holds) {
            *arg = Arg::Texts(vec![None; values.len()]);
        }
    }
    (format!("unnest({})", marks.join(", ")), args)
}

/// The rows' columns, as arrays.
fn columns_of(rows: Vec<Vec<Arg>>, width: usize) -> Vec<Arg> {
    let mut columns: Vec<Vec<Arg>> = (0..width).map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    columns.into_iter().map(array).collect()
}

fn array(values: Vec<Arg>) -> Arg {
    let is_text = values.iter().any(|value| matches!(value, Arg::Text(_)));
    if is_text {
        let texts = values.into_iter().map(|value| match value {
            Arg::Text(text) => text,
            _ => None,
        });
        return Arg::Texts(texts.collect());
    }
    let ints = values.into_iter().map(|value| match value {
        Arg::Int(int) => int,
        _ => None,
    });
    Arg::Ints(ints.collect())
}

/// The text with PostgreSQL's own marks, and the arguments.
fn ready(statement: Statement) -> Result<(String, PgArguments), sqlx::Error> {
    let mut text = String::with_capacity(statement.text.len() + 16);
    let mut parts = statement.text.split('?');
    text.push_str(parts.next().unwrap_or_default());
    for (at, part) in (1..).zip(parts) {
        text.push_str(&format!("${at}{part}"));
    }
    let mut arguments = PgArguments::default();
    for arg in statement.args {
        let added = match arg {
            Arg::Int(value) => arguments.add(value),
            Arg::Text(value) => arguments.add(value.as_deref()),
            Arg::Ints(values) => arguments.add(values),
            Arg::Texts(values) => {
                let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
                arguments.add(values)
            }
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok((text, arguments))
}

fn read(row: &PgRow) -> Result<Row, sqlx::Error> {
    let cells = row.columns().iter().map(|column| {
        let at = column.ordinal();
        let raw = row.try_get_raw(at)?;
        if raw.is_null() {
            return Ok(Cell::Null);
        }
        match raw.type_info().name() {
            "INT8" => row.try_get(at).map(Cell::Int),
            "INT4" => row
                .try_get::<i32, _>(at)
                .map(|value| Cell::Int(value.into())),
            _ => row.try_get(at).map(Cell::Text),
        }
    });
    cells.collect()
}
