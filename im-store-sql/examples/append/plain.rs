//! Plain sqlx: one table with the place and the client's id unique, multi-row inserts.

use std::time::Instant;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{Arguments, AssertSqlSafe, Connection, SqlSafeStr};

use crate::{CONVERSATIONS, SECONDS, body};

/// One table with the place and the client's id unique, as one would write it first.
pub(crate) async fn sqlite(path: &str, batch: usize) -> f64 {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE entry (conv INTEGER, seq INTEGER, id INTEGER, sender TEXT, at INTEGER, \
         cm_id TEXT, kind TEXT, body TEXT, PRIMARY KEY (conv, seq), \
         UNIQUE (conv, sender, cm_id)) WITHOUT ROWID",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let rows = batch.min(256);
    let values = vec!["(?,?,?,?,?,?,?,?)"; rows].join(",");
    let sql = AssertSqlSafe(format!("INSERT INTO entry VALUES {values}")).into_sql_str();
    let (body, mut n) = (body(), 0_usize);
    let started = Instant::now();
    while started.elapsed() < SECONDS {
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.unwrap();
        for _ in 0..batch.div_ceil(rows) {
            let mut to = SqliteArguments::default();
            for _ in 0..rows {
                let conv = n % CONVERSATIONS;
                to.add(conv as i64).unwrap();
                to.add((n / CONVERSATIONS) as i64).unwrap();
                to.add(n as i64).unwrap();
                to.add(format!("user-{conv}")).unwrap();
                to.add(n as i64).unwrap();
                to.add(format!("m-{n:012}")).unwrap();
                to.add("text").unwrap();
                to.add(std::sync::Arc::clone(body.json())).unwrap();
                n += 1;
            }
            sqlx::query_with(sql.clone(), to)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
    }
    n as f64 / started.elapsed().as_secs_f64()
}

#[cfg(all(feature = "postgres", feature = "mysql"))]
macro_rules! on_server {
    ($name:ident, $connection:ty, $text:literal, $ids:literal) => {
        /// The same on a server, with the columns and keys of the store's entries; the table is
        /// made anew.
        pub(crate) async fn $name(address: &str, batch: usize) -> f64 {
            let mut conn = <$connection>::connect(address).await.unwrap();
            let table = format!(
                "CREATE TABLE plain_entry (conv BIGINT, seq BIGINT, id BIGINT, sender {ids}, \
                 at BIGINT, cm_id {ids}, digest BIGINT, kind {ids}, body {text}, \
                 reply_to BIGINT, mentions {text}, expires_at BIGINT, \
                 PRIMARY KEY (conv, seq), UNIQUE (conv, sender, cm_id))",
                ids = $ids,
                text = $text,
            );
            for text in ["DROP TABLE IF EXISTS plain_entry".to_owned(), table] {
                let text = AssertSqlSafe(text).into_sql_str();
                sqlx::raw_sql(text).execute(&mut conn).await.unwrap();
            }
            let (body, mut n) = (body(), 0_usize);
            let started = Instant::now();
            while started.elapsed() < SECONDS {
                let mut tx = conn.begin().await.unwrap();
                let rows: Vec<usize> = (n..n + batch).collect();
                n += batch;
                for rows in rows.chunks(512) {
                    let mut query = sqlx::QueryBuilder::new("INSERT INTO plain_entry ");
                    query.push_values(rows, |mut to, n| {
                        let conv = n % CONVERSATIONS;
                        to.push_bind(conv as i64)
                            .push_bind((n / CONVERSATIONS) as i64)
                            .push_bind(*n as i64)
                            .push_bind(format!("user-{conv}"))
                            .push_bind(*n as i64)
                            .push_bind(format!("m-{n:012}"))
                            .push_bind(*n as i64)
                            .push_bind("text")
                            .push_bind(body.json().to_string())
                            .push_bind(None::<i64>)
                            .push_bind(None::<&str>)
                            .push_bind(None::<i64>);
                    });
                    query.build().execute(&mut *tx).await.unwrap();
                }
                tx.commit().await.unwrap();
            }
            n as f64 / started.elapsed().as_secs_f64()
        }
    };
}

#[cfg(all(feature = "postgres", feature = "mysql"))]
on_server!(postgres, sqlx::PgConnection, "TEXT", "TEXT");
#[cfg(all(feature = "postgres", feature = "mysql"))]
on_server!(mysql, sqlx::MySqlConnection, "LONGTEXT", "VARBINARY(255)");
