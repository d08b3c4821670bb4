//! Messages with a word that somebody must look at. They are stored and shown at once, and wait
//! here to be approved or recalled: what must not be shown is refused.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    ConversationId, Entry, Fact, FactKey, FactTable, Kind, MessageId, Seq, Timestamp, Value,
};
use im_core::port::{Commit, FactQuery, Put, Was, Write};
use im_core::rule::{Change, Power};

use super::{Act, limit, opt_why, why};
use crate::service::facts::put_on;
use crate::service::params::{Params, bad};
use crate::service::table::Call;

/// Messages shown at once: each is looked for in its log.
const LINES_MAX: usize = 50;

/// Beside a commit whose first entry somebody must look at: for which words. `head` is the log's
/// before it.
pub(in crate::service) fn note_review(commit: &mut Commit, head: Seq, words: Vec<String>) {
    let first = commit.writes.iter().find_map(|write| match write {
        Write::Append(entry) => Some((entry.id, entry.at)),
        _ => None,
    });
    let Some((id, at)) = first.filter(|_| !words.is_empty()) else {
        return;
    };
    let words: Vec<Value> = words.into_iter().map(Value::from).collect();
    let value = Value::object([("above", Value::from(head.0)), ("words", words.into())]);
    commit.writes.push(Write::Put(Put {
        key: key(&commit.conv, id),
        // The time is that of the message: so the oldest of all conversations are found first.
        to: Some((value.to_json(), Some(at))),
        was: Was::Any,
    }));
}

fn key(conv: &ConversationId, id: MessageId) -> FactKey {
    FactKey::new(FactTable::Review, conv.as_str(), format!("{:016x}", id.0))
}

/// `admin.review.list`: those that wait, the oldest first.
pub(in crate::service) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::Recall).await?;
    let limit = limit(&mut params, LINES_MAX, LINES_MAX)?;
    let query = FactQuery::Due {
        table: FactTable::Review,
        until: Timestamp(i64::MAX),
        limit,
    };
    let mut waiting = Vec::new();
    for fact in call.inner.facts(&query).await? {
        let (Some(id), Some(conv)) = (id_of(&fact), fact.key.place()) else {
            continue;
        };
        let value = Value::from_json(&fact.value).unwrap_or(Value::Null);
        let words = value.get("words").cloned().unwrap_or(Value::Null);
        let mut line = vec![
            ("id", Value::from(id.to_string())),
            ("conv", conv.as_str().to_owned().into()),
            ("words", words),
        ];
        let entry = call.reviewed(&fact, &conv).await?;
        // What it said is gone: there is nothing to decide, and others wait behind it.
        if entry
            .as_ref()
            .is_some_and(|it| it.body.kind() == Kind::Erased)
        {
            let done = vec![put_on(&fact, None)];
            call.commit(conv, done, Value::Null).await?;
            continue;
        }
        line.extend(entry.map(|entry| ("entry", call.inner.masked(&entry))));
        waiting.push(Value::object(line));
    }
    Ok(Value::object([("waiting", Value::from(waiting))]))
}

/// `admin.review.decide`: it stays, or is recalled; either way it waits no more.
pub(in crate::service) async fn decide(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::Recall).await?;
    let conv = params.conv()?;
    let wrong = || bad("id", "must be a message's id");
    let id = params.text("id")?.parse::<u64>().map_err(|_| wrong())?;
    let recalls = match params.text("verdict")?.as_str() {
        "approve" => false,
        "recall" => true,
        _ => return Err(bad("verdict", "must be approve or recall")),
    };
    let why = match recalls {
        true => Some(why(&mut params)?),
        false => opt_why(&mut params)?,
    };
    let fact = call.inner.fact(&key(&conv, MessageId(id))).await?;
    let no_such = || Failure::new(ErrorCode::NotFound, "nothing waits under this id");
    let fact = fact.ok_or_else(no_such)?;
    let op = if recalls {
        "review.recall"
    } else {
        "review.approve"
    };
    let mut act = Act::new(op).conv(&conv).with("id", id.to_string());
    if let Some(why) = &why {
        act = act.with("why", why.as_str().to_owned());
    }
    let done = vec![put_on(&fact, None)];
    let entry = call.reviewed(&fact, &conv).await?;
    let target = entry.filter(|_| recalls).and_then(|entry| target(&entry));
    match target {
        Some(seq) => {
            let act = act.with("seq", seq.0);
            let why = why.unwrap_or_default();
            call.acting(act, call.recall(&conv, seq, &why, done)).await
        }
        // Approved, or what it said is gone already.
        None => {
            let value = Value::Object(Vec::new());
            call.acting(act, call.commit(conv, done, value)).await
        }
    }
}

/// What is to be recalled: the message, or the one that it edits; nothing when it is erased.
fn target(entry: &Entry) -> Option<Seq> {
    match entry.body.kind() {
        Kind::Edit => Change::of(&entry.body).map(|(target, _)| target),
        Kind::Erased => None,
        _ => Some(entry.seq),
    }
}

fn id_of(fact: &Fact) -> Option<MessageId> {
    u64::from_str_radix(&fact.key.key, 16).ok().map(MessageId)
}

impl Call<'_> {
    /// The entry that waits, if it is found.
    async fn reviewed(&self, fact: &Fact, conv: &ConversationId) -> Result<Option<Entry>, Failure> {
        let value = Value::from_json(&fact.value).unwrap_or(Value::Null);
        let above = value.get("above").and_then(Value::as_int).unwrap_or(0);
        let above = Seq(u64::try_from(above).unwrap_or(0));
        let Some(id) = id_of(fact) else {
            return Ok(None);
        };
        match self.inner.place_of(conv, id, above).await? {
            Some(seq) => self.inner.entry(conv, seq).await,
            None => Ok(None),
        }
    }
}
