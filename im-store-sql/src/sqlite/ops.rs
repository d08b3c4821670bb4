//! Commits that do more than append: decided and applied inside the batch's transaction.

use std::collections::BTreeMap;

use im_core::model::{
    Conversation, ConversationId, Epoch, Member, Role, Seq, Stamp, Timestamp, UserId,
};
use im_core::port::{
    Commit, Committed, CursorMove, FirstSeq, MemberChange, MemberOp, NewConversation, PortError,
    Record, RecordKey, Rejected, Write,
};
use sqlx::Arguments;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};

use super::statement::{own, places};
use super::work::{Mutexed, Touched, Work, check_own_ids, next_seq};
use super::{rows, sql};
use crate::error::port_error;

/// Member rows read or written by one statement.
const MEMBERS_CHUNK: usize = 128;

/// What a commit that was sent before got; `None` when this one may be applied.
pub(super) async fn decide(
    conn: &mut SqliteConnection,
    tail: Mutexed<'_>,
    work: &Work,
    commit: &Commit,
) -> Result<Option<Committed>, Rejected> {
    if let Some(duplicate) = work.duplicate(tail, commit)? {
        return Ok(Some(duplicate));
    }
    check_records(conn, commit).await?;
    let touched = work.touched.get(&commit.conv);
    let mut exists = touched.is_some();
    for write in &commit.writes {
        match write {
            Write::Create(_) => exists = true,
            Write::Append(_) | Write::Member(_) | Write::Title(_) if !exists => {
                return Err(Rejected::NotFound);
            }
            _ => {}
        }
    }
    if conflicts(conn, commit, touched).await? {
        return Err(Rejected::Conflict);
    }
    check_own_ids(commit)?;
    Ok(None)
}

/// Writes a commit that was decided on, but for its entries, which stay in the work.
pub(super) async fn apply(
    conn: &mut SqliteConnection,
    work: &mut Work,
    commit: &Commit,
) -> Result<Committed, PortError> {
    let conv = &commit.conv;
    let first = next_seq(work.touched.get(conv));
    let mut done = Committed {
        appended: Vec::new(),
        version: Seq(0),
        created: false,
    };
    for write in &commit.writes {
        match write {
            Write::Create(new) => {
                if !work.touched.contains_key(conv) {
                    create(conn, work, conv, new).await?;
                    done.created = true;
                }
            }
            Write::Append(new) => done.appended.extend(work.append(conv, new)),
            Write::Title(title) => {
                if let Some(touched) = work.touched.get_mut(conv) {
                    touched.conversation.title.clone_from(title);
                }
            }
            Write::Cursor(to) => cursor(conn, work, conv, to).await?,
            Write::Block { user, other, on } => {
                block(conn, user, other, *on).await?;
            }
            Write::Record(record) => keep_record(conn, record).await?,
            // After the last entry is known.
            Write::Member(_) => {}
        }
    }
    finish(conn, work, commit, first, &mut done).await?;
    Ok(done)
}

/// What depends on the commit's last entry: members, version, the conversation's row.
async fn finish(
    conn: &mut SqliteConnection,
    work: &mut Work,
    commit: &Commit,
    first: Seq,
    done: &mut Committed,
) -> Result<(), PortError> {
    let is_rule = |write: &Write| matches!(write, Write::Member(_) | Write::Title(_));
    let rules = commit.writes.iter().any(is_rule);
    if rules && done.appended.is_empty() {
        let stamp = work.stamp_alone();
        if let Some(touched) = work.touched.get_mut(&commit.conv) {
            touched.stamp = stamp;
        }
    }
    let changes: Vec<&MemberChange> = commit
        .writes
        .iter()
        .filter_map(|write| match write {
            Write::Member(change) => Some(change),
            _ => None,
        })
        .collect();
    let Some(touched) = work.touched.get_mut(&commit.conv) else {
        return Ok(());
    };
    if !changes.is_empty() {
        change_members(conn, touched, &changes, first).await?;
    }
    if rules && !done.appended.is_empty() {
        touched.conversation.version = touched.conversation.head;
    }
    done.version = touched.conversation.version;
    if rules {
        write_conversation(conn, touched).await?;
    }
    Ok(())
}

async fn check_records(conn: &mut SqliteConnection, commit: &Commit) -> Result<(), Rejected> {
    for write in &commit.writes {
        let Write::Record(record) = write else {
            continue;
        };
        // By the writer's own word of now: the record that it brings expires later than that.
        let now = now();
        if let Some(value) = read_record(&mut *conn, &record.key, now).await? {
            return Err(Rejected::Done(value));
        }
    }
    Ok(())
}

/// The store's own time, for records alone.
pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX))
}

pub(super) async fn read_record<'e, E>(
    conn: E,
    key: &RecordKey,
    now: Timestamp,
) -> Result<Option<String>, PortError>
where
    E: sqlx::Executor<'e, Database = sqlx::Sqlite>,
{
    let found: Option<String> = match key {
        RecordKey::Block { user, other } => {
            sqlx::query_scalar("SELECT 'true' FROM block WHERE user = ? AND other = ?")
                .bind(user.as_str())
                .bind(other.as_str())
                .fetch_optional(conn)
                .await
        }
        RecordKey::Answer { user, key } => {
            sqlx::query_scalar(
                "SELECT value FROM answer WHERE user = ? AND key = ? AND expires_at > ?",
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

async fn keep_record(conn: &mut SqliteConnection, record: &Record) -> Result<(), PortError> {
    match &record.key {
        RecordKey::Block { user, other } => block(conn, user, other, true).await,
        RecordKey::Answer { user, key } => {
            // Each new one takes a few that have expired with it, so that none pile up.
            sqlx::query(
                "DELETE FROM answer WHERE (user, key) IN \
                 (SELECT user, key FROM answer WHERE expires_at <= ? LIMIT 8)",
            )
            .bind(now().0)
            .execute(&mut *conn)
            .await
            .map_err(port_error)?;
            sqlx::query(
                "INSERT INTO answer (user, key, value, expires_at) VALUES (?, ?, ?, ?) \
                 ON CONFLICT (user, key) DO UPDATE \
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

async fn block(
    conn: &mut SqliteConnection,
    user: &UserId,
    other: &UserId,
    on: bool,
) -> Result<(), PortError> {
    let text = if on {
        "INSERT OR IGNORE INTO block (user, other) VALUES (?, ?)"
    } else {
        "DELETE FROM block WHERE user = ? AND other = ?"
    };
    let query = sqlx::query(text).bind(user.as_str()).bind(other.as_str());
    query.execute(conn).await.map(drop).map_err(port_error)
}

/// Whether what the commit was decided on has changed.
async fn conflicts(
    conn: &mut SqliteConnection,
    commit: &Commit,
    touched: Option<&Touched>,
) -> Result<bool, PortError> {
    let version = touched.map_or(Seq(0), |touched| touched.conversation.version);
    let Some(expected) = commit
        .expect_version
        .filter(|expected| *expected != version)
    else {
        return Ok(false);
    };
    let (Some(actor), Some(touched)) = (&commit.actor, touched) else {
        return Ok(true);
    };
    let rows = read_members(conn, touched.no, std::slice::from_ref(actor)).await?;
    let row = rows.get(actor);
    Ok(row.is_none_or(|(member, _)| !member.is_in() || member.version > expected))
}

/// The rows of these users, with their stamps.
pub(super) async fn read_members(
    conn: &mut SqliteConnection,
    no: i64,
    users: &[UserId],
) -> Result<BTreeMap<UserId, (Member, Stamp)>, PortError> {
    let mut found = BTreeMap::new();
    for chunk in users.chunks(MEMBERS_CHUNK) {
        let columns = rows::MEMBER;
        let places = places(chunk.len().next_power_of_two());
        let text =
            format!("SELECT {columns} FROM member m WHERE m.conv = ? AND m.user IN ({places})");
        let mut arguments = SqliteArguments::default();
        add(&mut arguments, no)?;
        for user in chunk {
            add(&mut arguments, user.as_str())?;
        }
        let rows = sqlx::query_with(own(text), arguments)
            .fetch_all(&mut *conn)
            .await;
        for row in &rows.map_err(port_error)? {
            let (member, stamp) = rows::member(row, 0)?;
            found.insert(member.user.clone(), (member, stamp));
        }
    }
    Ok(found)
}

fn add<'q, T>(to: &mut SqliteArguments, value: T) -> Result<(), PortError>
where
    T: sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    to.add(value)
        .map_err(|error| port_error(sqlx::Error::Encode(error)))
}

async fn write_members(
    conn: &mut SqliteConnection,
    no: i64,
    members: &[(Member, Stamp)],
) -> Result<(), PortError> {
    for chunk in members.chunks(MEMBERS_CHUNK) {
        let row = format!("({})", places(10));
        let text = format!(
            "INSERT OR REPLACE INTO member (conv, user, role, first_seq, left_seq, version, \
             muted_until, delivered, read, stamp) VALUES {}",
            vec![row.as_str(); chunk.len()].join(",")
        );
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
        // Few sizes recur, so the text is not worth a place in the statement cache.
        let query = sqlx::query_with(own(text), arguments).persistent(false);
        query.execute(&mut *conn).await.map_err(port_error)?;
    }
    Ok(())
}

async fn create(
    conn: &mut SqliteConnection,
    work: &mut Work,
    conv: &ConversationId,
    new: &NewConversation,
) -> Result<(), PortError> {
    // The commit's entries, if it has any, are younger; what counts is that it is new.
    let stamp = work.stamp_alone();
    let mut members: BTreeMap<&UserId, Role> = BTreeMap::new();
    for (user, role) in &new.members {
        members.insert(user, *role);
    }
    let conversation = Conversation {
        id: conv.clone(),
        kind: new.kind,
        title: new.title.clone(),
        epoch: Epoch(1),
        head: Seq(0),
        version: Seq(0),
        first_seq: Seq(1),
        member_count: u32::try_from(members.len()).unwrap_or(u32::MAX),
        hide_history: new.hide_history,
    };
    let no: i64 = sqlx::query_scalar(
        "INSERT INTO conversation (id, kind, title, epoch, head, version, first_seq, \
         member_count, hide_history, stamp) VALUES (?, ?, ?, 1, 0, 0, 1, ?, ?, ?) RETURNING no",
    )
    .bind(conv.as_str())
    .bind(new.kind.as_str())
    .bind(new.title.as_deref())
    .bind(i64::from(conversation.member_count))
    .bind(i64::from(new.hide_history))
    .bind(stamp.0 as i64)
    .fetch_one(&mut *conn)
    .await
    .map_err(port_error)?;
    let members: Vec<_> = members
        .into_iter()
        .map(|(user, role)| (newcomer(user, role, Seq(1)), stamp))
        .collect();
    write_members(conn, no, &members).await?;
    work.touched.insert(
        conv.clone(),
        Touched {
            no,
            conversation,
            stamp,
            new: Vec::new(),
        },
    );
    Ok(())
}

fn newcomer(user: &UserId, role: Role, first_seq: Seq) -> Member {
    Member {
        user: user.clone(),
        role,
        first_seq,
        left_seq: None,
        version: Seq(0),
        muted_until: None,
        delivered: Seq(0),
        read: Seq(0),
    }
}

async fn cursor(
    conn: &mut SqliteConnection,
    work: &mut Work,
    conv: &ConversationId,
    to: &CursorMove,
) -> Result<(), PortError> {
    let Some(touched) = work.touched.get(conv) else {
        return Ok(());
    };
    let (no, head) = (touched.no, touched.conversation.head);
    let read = to.read.unwrap_or_default().min(head);
    let delivered = to.delivered.unwrap_or_default().min(head).max(read);
    let stamp = if to.read.is_some() {
        work.stamp_alone()
    } else {
        Stamp(0)
    };
    let query = sqlx::query(
        "UPDATE member SET delivered = max(delivered, ?), read = max(read, ?), \
         stamp = CASE WHEN read < ? THEN ? ELSE stamp END \
         WHERE conv = ? AND user = ? AND left_seq IS NULL AND (delivered < ? OR read < ?)",
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

async fn change_members(
    conn: &mut SqliteConnection,
    touched: &mut Touched,
    changes: &[&MemberChange],
    first: Seq,
) -> Result<(), PortError> {
    let users: Vec<UserId> = changes.iter().map(|change| change.user.clone()).collect();
    let mut rows = read_members(conn, touched.no, &users).await?;
    let stamp = touched.stamp;
    for change in changes {
        change_member(&mut rows, &mut touched.conversation, change, first, stamp);
    }
    let changed: Vec<_> = rows.into_values().filter(|(_, at)| *at == stamp).collect();
    write_members(conn, touched.no, &changed).await
}

/// One member's change, on the rows that were read.
fn change_member(
    rows: &mut BTreeMap<UserId, (Member, Stamp)>,
    conversation: &mut Conversation,
    change: &MemberChange,
    first: Seq,
    stamp: Stamp,
) {
    if let MemberOp::Add { role, first: sees } = change.op {
        let first = match sees {
            FirstSeq::All => conversation.first_seq,
            FirstSeq::Here => first,
        };
        let (member, at) = rows.entry(change.user.clone()).or_insert_with(|| {
            let left_seq = Some(Seq(0));
            (
                Member {
                    left_seq,
                    ..newcomer(&change.user, role, first)
                },
                stamp,
            )
        });
        *at = stamp;
        member.version = conversation.head;
        member.role = role;
        if !member.is_in() {
            member.first_seq = first;
            member.left_seq = None;
            conversation.member_count += 1;
        }
        return;
    }
    let Some((member, at)) = rows
        .get_mut(&change.user)
        .filter(|(member, _)| member.is_in())
    else {
        return;
    };
    *at = stamp;
    member.version = conversation.head;
    match change.op {
        MemberOp::Remove => {
            member.left_seq = Some(conversation.head);
            conversation.member_count = conversation.member_count.saturating_sub(1);
        }
        MemberOp::Role(role) => member.role = role,
        MemberOp::Mute(until) => member.muted_until = until,
        MemberOp::Add { .. } => {}
    }
}

/// What a rule changed; the head is the merge's to write.
async fn write_conversation(
    conn: &mut SqliteConnection,
    touched: &Touched,
) -> Result<(), PortError> {
    let query = sqlx::query(
        "UPDATE conversation SET title = ?, version = ?, member_count = ?, stamp = ? WHERE no = ?",
    )
    .bind(touched.conversation.title.as_deref())
    .bind(sql(touched.conversation.version))
    .bind(i64::from(touched.conversation.member_count))
    .bind(touched.stamp.0 as i64)
    .bind(touched.no);
    query.execute(conn).await.map(drop).map_err(port_error)
}
