//! The rows of members.

use std::collections::BTreeMap;

use im_core::model::{ConversationId, Member, Stamp, UserId};
use im_core::port::{CursorMove, PortError};
use im_core::rule::commit::cursor_goal;
use sqlx::Arguments;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};

use super::statement::{ROWS_MAX, TEXTS};
use super::work::Work;
use super::{rows, sql};
use crate::error::port_error;

/// The rows of these users, with their stamps.
pub(super) async fn read(
    conn: &mut SqliteConnection,
    no: i64,
    users: &[UserId],
) -> Result<BTreeMap<UserId, (Member, Stamp)>, PortError> {
    let mut found = BTreeMap::new();
    for chunk in users.chunks(ROWS_MAX) {
        let (text, _) = TEXTS.members.of(chunk.len());
        let mut arguments = SqliteArguments::default();
        add(&mut arguments, no)?;
        for user in chunk {
            add(&mut arguments, user.as_str())?;
        }
        let rows = sqlx::query_with(text, arguments)
            .fetch_all(&mut *conn)
            .await;
        for row in &rows.map_err(port_error)? {
            let (member, stamp) = rows::member(row, 0)?;
            found.insert(member.user.clone(), (member, stamp));
        }
    }
    Ok(found)
}

/// Writes whole rows.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    no: i64,
    members: &[(Member, Stamp)],
) -> Result<(), PortError> {
    for chunk in members.chunks(ROWS_MAX) {
        let (text, recurs) = TEXTS.write_members.of(chunk.len());
        let mut arguments = SqliteArguments::default();
        for (member, stamp) in chunk {
            add(&mut arguments, no)?;
            add(&mut arguments, member.user.as_str())?;
            add(&mut arguments, member.role.as_str())?;
            add(&mut arguments, sql(member.first_seq))?;
            add(&mut arguments, member.left_seq.map(sql))?;
            add(&mut arguments, sql(member.version))?;
            add(&mut arguments, member.muted_until.map(|until| until.0))?;
            add(&mut arguments, sql(member.delivered))?;
            add(&mut arguments, sql(member.read))?;
            add(&mut arguments, stamp.0 as i64)?;
        }
        let query = sqlx::query_with(text, arguments).persistent(recurs);
        query.execute(&mut *conn).await.map_err(port_error)?;
    }
    Ok(())
}

pub(super) async fn move_cursor(
    conn: &mut SqliteConnection,
    work: &mut Work,
    conv: &ConversationId,
    to: &CursorMove,
) -> Result<(), PortError> {
    let Some(touched) = work.touched.get(conv) else {
        return Ok(());
    };
    let (no, head) = (touched.no, touched.conversation.head);
    let (delivered, read) = cursor_goal(to, head);
    let stamp = if to.read.is_some() {
        work.stamp_alone()
    } else {
        Stamp(0)
    };
    let query = sqlx::query(
        "UPDATE im_member SET delivered_seq = max(delivered_seq, ?), \
         read_seq = max(read_seq, ?), stamp = CASE WHEN read_seq < ? THEN ? ELSE stamp END \
         WHERE conv = ? AND user_id = ? AND left_seq IS NULL \
         AND (delivered_seq < ? OR read_seq < ?)",
    )
    .bind(sql(delivered))
    .bind(sql(read))
    .bind(sql(read))
    .bind(stamp.0 as i64)
    .bind(no)
    .bind(to.user.as_str())
    .bind(sql(delivered))
    .bind(sql(read));
    query.execute(conn).await.map(drop).map_err(port_error)
}

fn add<'q, T>(to: &mut SqliteArguments, value: T) -> Result<(), PortError>
where
    T: sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    to.add(value)
        .map_err(|error| port_error(sqlx::Error::Encode(error)))
}
