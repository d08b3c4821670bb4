//! The rows of conversations.

use im_core::model::ConversationId;
use im_core::port::{NewConversation, PortError};
use im_core::rule::commit::begin;
use sqlx::sqlite::SqliteConnection;

use super::work::{Touched, Work};
use super::{members, sql};
use crate::error::port_error;

pub(super) async fn create(
    conn: &mut SqliteConnection,
    work: &mut Work,
    conv: &ConversationId,
    new: &NewConversation,
) -> Result<(), PortError> {
    // The commit's entries, if it has any, are younger; what counts is that it is new.
    let stamp = work.stamp_alone();
    let (conversation, first) = begin(conv, new);
    let no: i64 = sqlx::query_scalar(
        "INSERT INTO im_conversation (id, kind, title, epoch, head, version, first_seq, \
         member_count, hide_history, speaks, stamp) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING no",
    )
    .bind(conv.as_str())
    .bind(conversation.kind.as_str())
    .bind(conversation.title.as_deref())
    .bind(conversation.epoch.0 as i64)
    .bind(sql(conversation.head))
    .bind(sql(conversation.version))
    .bind(sql(conversation.first_seq))
    .bind(i64::from(conversation.member_count))
    .bind(i64::from(conversation.hide_history))
    .bind(conversation.speaks.as_str())
    .bind(stamp.0 as i64)
    .fetch_one(&mut *conn)
    .await
    .map_err(port_error)?;
    let first: Vec<_> = first.into_iter().map(|member| (member, stamp)).collect();
    members::write(conn, no, &first).await?;
    let touched = Touched {
        no,
        conversation,
        stamp,
        new: Vec::new(),
        erased: Vec::new(),
    };
    work.touched.insert(conv.clone(), touched);
    Ok(())
}

/// What a rule changed; the head is the merge's to write.
pub(super) async fn write(conn: &mut SqliteConnection, touched: &Touched) -> Result<(), PortError> {
    let query = sqlx::query(
        "UPDATE im_conversation SET title = ?, hide_history = ?, speaks = ?, erasures = ?, \
         epoch = ?, version = ?, member_count = ?, holder = ?, stamp = ? WHERE no = ?",
    )
    .bind(touched.conversation.title.as_deref())
    .bind(i64::from(touched.conversation.hide_history))
    .bind(touched.conversation.speaks.as_str())
    .bind(touched.conversation.erasures as i64)
    .bind(touched.conversation.epoch.0 as i64)
    .bind(sql(touched.conversation.version))
    .bind(i64::from(touched.conversation.member_count))
    .bind(touched.conversation.holder.0 as i64)
    .bind(touched.stamp.0 as i64)
    .bind(touched.no);
    query.execute(conn).await.map(drop).map_err(port_error)
}
