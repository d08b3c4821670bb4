//! Messages that wait for their time. Each has its `cm_id` from the beginning, so that it is sent
//! once, however many nodes find it due.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{CmId, Draft, Fact, FactKey, FactTable, Timestamp, UserId, Value, place_of};
use im_core::port::{Commit, Put, Was, Write};

use super::facts::remove;
use super::messages::draft;
use super::own::own;
use super::params::{Params, bad};
use super::table::Call;
use crate::node::Inner;

/// Messages of one user that wait.
const SCHEDULED_MAX: usize = 100;
/// The longest wait: a year, in milliseconds.
const WAIT_MS_MAX: u64 = 366 * 24 * 3_600 * 1_000;

fn key(user: &UserId, cm_id: &CmId) -> FactKey {
    FactKey::new(FactTable::Scheduled, user.as_str(), cm_id.as_str())
}

/// `messages.schedule`: the fields of `send`, and when. The same `cm_id` again: that one instead.
pub(super) async fn schedule(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let at = params
        .opt_count("at")?
        .ok_or_else(|| bad("at", "is missing"))?;
    let at = Timestamp(i64::try_from(at).unwrap_or(i64::MAX));
    let now = call.inner.clock.timestamp();
    if at <= now || at > now.plus_ms(WAIT_MS_MAX) {
        return Err(bad("at", "must lie ahead, by a year at most"));
    }
    let value = params.into_value();
    let draft = draft(Params::new(value.clone()))?;
    call.inner.check_draft(&draft)?;
    let user = &call.caller.user;
    let key = key(user, &draft.cm_id);
    let waiting = call
        .inner
        .facts(&own(FactTable::Scheduled, user, SCHEDULED_MAX))
        .await?;
    if waiting.len() >= SCHEDULED_MAX && waiting.iter().all(|fact| fact.key != key) {
        return Err(Failure::new(ErrorCode::Conflict, "too many wait already"));
    }
    let put = Put {
        key,
        to: Some((value.to_json(), Some(at))),
        was: Was::Any,
    };
    call.put_own(vec![Write::Put(put)]).await
}

/// `messages.unschedule`: a message that waits is not sent.
pub(super) async fn unschedule(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let cm_id = CmId::new(params.text("cm_id")?);
    let cm_id = cm_id.map_err(|error| bad("cm_id", &error.to_string()))?;
    let write = remove(key(&call.caller.user, &cm_id));
    call.put_own(vec![write]).await
}

/// `messages.scheduled`: the caller's messages that wait.
pub(super) async fn scheduled(call: Call<'_>, _: Params) -> Result<Value, Failure> {
    let query = own(FactTable::Scheduled, &call.caller.user, SCHEDULED_MAX);
    let facts = call.inner.facts(&query).await?;
    let line = |fact: &Fact| {
        let at = fact.at.map_or(Value::Null, |at| at.0.into());
        let send = Value::from_json(&fact.value).unwrap_or(Value::Null);
        Value::object([("at", at), ("send", send)])
    };
    let lines: Vec<Value> = facts.iter().map(line).collect();
    Ok(Value::object([("scheduled", Value::from(lines))]))
}

impl Inner {
    /// Sends a message whose time has come. One that is refused for good is told to its user's
    /// devices; any other refusal is tried again.
    pub(crate) async fn send_due(&self, fact: &Fact) -> Result<(), Failure> {
        let Ok(user) = UserId::new(fact.key.owner.clone()) else {
            return Ok(());
        };
        let sent = match Value::from_json(&fact.value).map(Params::new).map(draft) {
            Ok(Ok(draft)) => self.sent_event(&user, &draft).await?,
            _ => refused_event(&fact.key.key, &bad("body", "can't be read")),
        };
        // Another node may have sent it as well, which is the same message; or its user has put
        // another one there, which stays.
        let commit = Commit {
            conv: place_of(FactTable::Scheduled, user.as_str())
                .ok_or_else(|| bad("user", "has no facts"))?,
            expect_version: None,
            actor: None,
            writes: vec![Write::Put(Put {
                key: fact.key.clone(),
                to: None,
                was: Was::Value(fact.value.clone()),
            })],
        };
        if self.appender.commit(commit).await.is_ok() {
            self.tell(&[user], &sent);
        }
        Ok(())
    }

    async fn sent_event(&self, user: &UserId, draft: &Draft) -> Result<Value, Failure> {
        match self.send_and_wait(user, draft).await {
            Ok((conv, appended)) => Ok(Value::object([
                ("kind", Value::from("scheduled")),
                ("cm_id", draft.cm_id.as_str().into()),
                ("conv", conv.as_str().into()),
                ("seq", appended.seq.0.into()),
            ])),
            Err(failure) if failure.retry_after_ms.is_some() => Err(failure),
            Err(failure) => Ok(refused_event(draft.cm_id.as_str(), &failure)),
        }
    }
}

fn refused_event(cm_id: &str, failure: &Failure) -> Value {
    Value::object([
        ("kind", Value::from("scheduled")),
        ("cm_id", cm_id.into()),
        ("code", failure.code.as_str().into()),
        ("message", failure.message.as_str().into()),
    ])
}
