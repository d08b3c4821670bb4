//! Facts.

use im_core::model::{Fact, FactKey};
use im_core::port::{Commit, FactQuery, PortError, Put, Rejected};
use im_core::rule::commit::{check_facts, puts};
use sqlx::QueryBuilder;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::error::port_error;
use crate::fact::read;

/// Refuses a commit whose facts are not what it expects.
pub(super) async fn check(conn: &mut SqliteConnection, commit: &Commit) -> Result<(), Rejected> {
    let mut there = Vec::new();
    for put in puts(commit) {
        there.extend(facts(&mut *conn, &FactQuery::One(put.key.clone())).await?);
    }
    check_facts(commit, |key| {
        let found = there.iter().find(|fact| fact.key == *key);
        found.map(|fact| fact.value.as_str())
    })
}

pub(super) async fn put(conn: &mut SqliteConnection, put: &Put) -> Result<(), PortError> {
    let FactKey { table, owner, key } = &put.key;
    let query = match &put.to {
        Some((value, at)) => sqlx::query(
            "INSERT INTO im_fact (kind, owner, fact_key, value, at) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (kind, owner, fact_key) DO UPDATE \
             SET value = excluded.value, at = excluded.at",
        )
        .bind(table.as_str())
        .bind(owner.as_str())
        .bind(key.as_str())
        .bind(value.as_str())
        .bind(at.map(|at| at.0)),
        None => sqlx::query("DELETE FROM im_fact WHERE kind = ? AND owner = ? AND fact_key = ?")
            .bind(table.as_str())
            .bind(owner.as_str())
            .bind(key.as_str()),
    };
    query.execute(conn).await.map(drop).map_err(port_error)
}

pub(super) async fn facts<'e, E>(conn: E, query: &FactQuery) -> Result<Vec<Fact>, PortError>
where
    E: sqlx::Executor<'e, Database = sqlx::Sqlite>,
{
    let mut text = QueryBuilder::<sqlx::Sqlite>::new(
        "SELECT kind, owner, fact_key, value, at FROM im_fact WHERE kind = ",
    );
    match query {
        FactQuery::One(FactKey { table, owner, key }) => {
            text.push_bind(table.as_str());
            text.push(" AND owner = ").push_bind(owner.as_str());
            text.push(" AND fact_key = ").push_bind(key.as_str());
        }
        FactQuery::Of {
            table,
            owner,
            after,
            below,
            limit,
        } => {
            text.push_bind(table.as_str());
            text.push(" AND owner = ").push_bind(owner.as_str());
            // Only bounds that are there: others are none for the index.
            if let Some(after) = after {
                text.push(" AND fact_key > ").push_bind(after.as_str());
            }
            if let Some(below) = below {
                text.push(" AND fact_key < ").push_bind(below.as_str());
            }
            text.push(" ORDER BY fact_key LIMIT ")
                .push_bind(*limit as i64);
        }
        FactQuery::Due {
            table,
            until,
            limit,
        } => {
            text.push_bind(table.as_str());
            text.push(" AND at <= ").push_bind(until.0);
            text.push(" ORDER BY at LIMIT ").push_bind(*limit as i64);
        }
    }
    let found = text.build().fetch_all(conn).await.map_err(port_error)?;
    found.iter().map(fact).collect()
}

fn fact(row: &SqliteRow) -> Result<Fact, PortError> {
    use sqlx::Row as _;
    let text = |at: usize| row.try_get::<String, _>(at).map_err(port_error);
    let at = row.try_get::<Option<i64>, _>(4).map_err(port_error)?;
    read(&text(0)?, text(1)?, text(2)?, text(3)?, at)
}
