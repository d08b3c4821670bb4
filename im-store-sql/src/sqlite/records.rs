//! Records and blocks.

use im_core::model::{Timestamp, UserId};
use im_core::port::{Commit, PortError, Record, RecordKey, Rejected, Write};
use sqlx::sqlite::SqliteConnection;

use crate::clock::now;
use crate::error::port_error;

/// Refuses a commit whose record is there already.
pub(super) async fn check(conn: &mut SqliteConnection, commit: &Commit) -> Result<(), Rejected> {
    for write in &commit.writes {
        let Write::Record(record) = write else {
            continue;
        };
        // By the writer's own word of now: the record that it brings expires later than that.
        let now = now();
        if let Some(value) = read(&mut *conn, &record.key, now).await? {
            return Err(Rejected::Done(value));
        }
    }
    Ok(())
}

pub(super) async fn read<'e, E>(
    conn: E,
    key: &RecordKey,
    now: Timestamp,
) -> Result<Option<String>, PortError>
where
    E: sqlx::Executor<'e, Database = sqlx::Sqlite>,
{
    let found: Option<String> = match key {
        RecordKey::Block { user, other } => {
            sqlx::query_scalar("SELECT 'true' FROM im_block WHERE user_id = ? AND other_id = ?")
                .bind(user.as_str())
                .bind(other.as_str())
                .fetch_optional(conn)
                .await
        }
        RecordKey::Answer { user, key } => {
            sqlx::query_scalar(
                "SELECT value FROM im_answer \
                 WHERE user_id = ? AND request_key = ? AND expires_at > ?",
            )
            .bind(user.as_str())
            .bind(key.as_str())
            .bind(now.0)
            .fetch_optional(conn)
            .await
        }
    }
    .map_err(port_error)?;
    Ok(found)
}

pub(super) async fn keep(conn: &mut SqliteConnection, record: &Record) -> Result<(), PortError> {
    match &record.key {
        RecordKey::Block { user, other } => block(conn, user, other, true).await,
        RecordKey::Answer { user, key } => {
            // Each new one takes a few that have expired with it, so that none pile up.
            sqlx::query(
                "DELETE FROM im_answer WHERE (user_id, request_key) IN \
                 (SELECT user_id, request_key FROM im_answer WHERE expires_at <= ? LIMIT 8)",
            )
            .bind(now().0)
            .execute(&mut *conn)
            .await
            .map_err(port_error)?;
            sqlx::query(
                "INSERT INTO im_answer (user_id, request_key, value, expires_at) \
                 VALUES (?, ?, ?, ?) \
                 ON CONFLICT (user_id, request_key) DO UPDATE \
                 SET value = excluded.value, expires_at = excluded.expires_at",
            )
            .bind(user.as_str())
            .bind(key.as_str())
            .bind(record.value.as_str())
            .bind(record.expires_at.0)
            .execute(conn)
            .await
            .map_err(port_error)?;
            Ok(())
        }
    }
}

pub(super) async fn block(
    conn: &mut SqliteConnection,
    user: &UserId,
    other: &UserId,
    on: bool,
) -> Result<(), PortError> {
    let text = if on {
        "INSERT OR IGNORE INTO im_block (user_id, other_id) VALUES (?, ?)"
    } else {
        "DELETE FROM im_block WHERE user_id = ? AND other_id = ?"
    };
    let query = sqlx::query(text).bind(user.as_str()).bind(other.as_str());
    query.execute(conn).await.map(drop).map_err(port_error)
}
