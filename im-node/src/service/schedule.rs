//! Messages that wait for their time. Each has its `cm_id` from the beginning, so that it is sent
//! once, however many nodes find it due.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{CmId, Draft, Fact, FactKey, FactTable, Timestamp, UserId, Value};
use im_core::port::{Put, Standing, Was, Write};

use super::facts::{put_on, remove};
use super::messages::draft;
use super::params::{Params, bad};
use super::send::target_id;
use super::table::Call;
use crate::appender::port_failure;
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
    call.has_room(&key, SCHEDULED_MAX, "too many wait already")
        .await?;
    // Nothing that it names is collected while it waits; what is sent is decided then.
    let conv = target_id(user, &draft.to);
    let body = draft.body.clone();
    call.inner
        .attach(user, &conv, &draft.cm_id, body, at)
        .await?;
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

/// `messages.scheduled`: the caller's messages that wait, in the order of their `cm_id`s.
pub(super) async fn scheduled(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    let line = |fact: &Fact| {
        let at = fact.at.map_or(Value::Null, |at| at.0.into());
        let send = Value::from_json(&fact.value).unwrap_or(Value::Null);
        Value::object([("at", at), ("send", send)])
    };
    call.own_page(FactTable::Scheduled, "scheduled", params, line)
        .await
}

impl Inner {
    /// Sends a message whose time has come. One that is refused for good is told to its user's
    /// devices; any other refusal is tried again.
    pub(crate) async fn send_due(&self, fact: &Fact) -> Result<(), Failure> {
        let Ok(user) = UserId::new(fact.key.owner.clone()) else {
            return Ok(());
        };
        // What was read a while ago may be another one by now, or none.
        if self.fact(&fact.key).await?.as_ref() != Some(fact) {
            return Ok(());
        }
        let standing = self.standing(&user).await;
        if standing.map_err(|error| port_failure(&error))? != Standing::Active {
            return self.end(fact, Vec::new()).await;
        }
        let sent = match Value::from_json(&fact.value).map(Params::new).map(draft) {
            Ok(Ok(draft)) => self.sent_event(&user, &draft).await?,
            _ => refused_event(&fact.key.key, &bad("body", "can't be read")),
        };
        // Another node may have sent it as well, which is the same message; or its user has put
        // another one there, which stays.
        if self.commit_due(fact, vec![put_on(fact, None)]).await? {
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
            // Who is muted would wait for as long as that lasts.
            Err(failure)
                if failure.retry_after_ms.is_some() && failure.code != ErrorCode::Muted =>
            {
                Err(failure)
            }
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
