//! Asking to come in, and the answers.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{ConversationId, Fact, FactKey, FactTable, Role, UserId, Value};
use im_core::port::{FactQuery, MemberOp, Put, Rejected, Was, Write};
use im_core::rule::{Action, MemberEventOp};

use super::bans::ban_key;
use super::decide::{DECIDE_TRIES_MAX, Known, nothing, plan, sees};
use super::facts::{put_on, remove};
use super::groups::about;
use super::params::{Params, checked_text};
use super::rules::Door;
use super::table::Call;
use crate::appender::failure;
use crate::node::Inner;

/// Characters of the note of a request.
const NOTE_CHARS_MAX: usize = 200;
/// Requests that may wait in one conversation.
const REQUESTS_MAX: usize = 500;

pub(super) fn request_key(conv: &ConversationId, user: &UserId) -> FactKey {
    about(FactTable::JoinRequest, conv, user)
}

/// The requests of some users that wait.
pub(super) async fn asked_among(
    inner: &Inner,
    conv: &ConversationId,
    users: &[UserId],
) -> Result<Vec<FactKey>, Failure> {
    let all = all_of(FactTable::JoinRequest, conv, REQUESTS_MAX);
    let all = inner.facts(&all).await?;
    let keys = all.into_iter().map(|fact| fact.key);
    let is_of = |key: &FactKey| users.iter().any(|user| key.key == user.as_str());
    Ok(keys.filter(is_of).collect())
}

/// All facts of a table about a conversation, up to so many.
pub(super) fn all_of(table: FactTable, conv: &ConversationId, limit: usize) -> FactQuery {
    FactQuery::Of {
        table,
        owner: conv.as_str().to_owned(),
        after: None,
        below: None,
        limit,
    }
}

/// `groups.ask`: asks to come in, where that is how one does.
pub(super) async fn ask(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let note = checked_text(&mut params, "note", NOTE_CHARS_MAX)?;
    let note = note
        .map(|note| call.inner.clean("note", note))
        .transpose()?;
    let me = &call.caller.user;
    let key = request_key(&conv, me);
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, &[]).await?;
        let banned = call.inner.fact(&ban_key(&conv, me)).await?.is_some();
        let open = known.rules.door != Door::Invite;
        call.may(Action::Join { open, banned }, &known)?;
        if known.find_in(me).is_some() {
            return Ok(state("member"));
        }
        if known.rules.door == Door::Open {
            return Err(Failure::new(ErrorCode::Conflict, "anybody may join it"));
        }
        let last = call.inner.fact(&key).await?;
        if last.is_none() {
            call.has_room(&key, REQUESTS_MAX, "too many ask already")
                .await?;
        }
        let now = call.inner.clock.timestamp();
        let ms = call.inner.settings.join_request.as_millis();
        let until = now.plus_ms(u64::try_from(ms).unwrap_or(u64::MAX));
        let mut value = vec![("at", Value::from(now.0))];
        value.extend(note.as_deref().map(|note| ("note", note.into())));
        let put = Write::Put(Put {
            key: key.clone(),
            to: Some((Value::object(value).to_json(), Some(until))),
            was: last
                .as_ref()
                .map_or(Was::Absent, |fact| Was::Value(fact.value.clone())),
        });
        // A ban and another door move the version.
        let asked = call.carry_on(&known, None, vec![put], state("asked"));
        if let Some(value) = asked.await? {
            if last.is_none() {
                call.tell_staff(&known, me, "ask");
            }
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// `groups.unask`: takes one's own request back.
pub(super) async fn unask(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let me = &call.caller.user;
    let key = request_key(&conv, me);
    if call.inner.fact(&key).await?.is_none() {
        return Ok(nothing());
    }
    let known = call.known(&conv, &[]).await?;
    let value = call.commit(conv, vec![remove(key)], nothing()).await?;
    call.tell_staff(&known, me, "unask");
    Ok(value)
}

/// `groups.requests`: who asks, in the order of their ids.
pub(super) async fn requests(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let after = params.opt_user("after")?;
    let limit = params.page_limit()?;
    let known = call.known(&conv, &[]).await?;
    call.may(Action::Admit, &known)?;
    let now = call.inner.clock.timestamp();
    let line = |fact: &Fact| (!is_over(fact, now)).then(|| user_line(fact));
    let after = after.map(|user| user.as_str().to_owned());
    let of = (FactTable::JoinRequest, conv.as_str(), "requests");
    call.page_of(of, after, limit, line).await
}

/// A user that a fact is about, and what it says.
pub(super) fn user_line(fact: &Fact) -> Value {
    let mut fields = vec![("user".into(), Value::from(fact.key.key.as_str()))];
    if let Ok(Value::Object(known)) = Value::from_json(&fact.value) {
        fields.extend(known);
    }
    fields.extend(fact.at.map(|at| ("until".into(), at.0.into())));
    Value::object(fields)
}

fn is_over(fact: &Fact, now: im_core::model::Timestamp) -> bool {
    fact.at.is_some_and(|at| at <= now)
}

/// `groups.accept`: who asked is a member from now on.
pub(super) async fn accept(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let user = params.user("user")?;
    let users = std::slice::from_ref(&user);
    call.inner.all_known(users).await?;
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, users).await?;
        call.may(Action::Admit, &known)?;
        if known.find_in(&user).is_some() {
            return Ok(nothing());
        }
        let request = call.inner.fact(&request_key(&conv, &user)).await?;
        let now = call.inner.clock.timestamp();
        let request = request.filter(|fact| !is_over(fact, now));
        let Some(request) = request else {
            // Somebody else may have answered since the members were read.
            return match call.known(&conv, users).await?.find_in(&user) {
                Some(_) => Ok(nothing()),
                None => Err(Failure::new(ErrorCode::NotFound, "no such request")),
            };
        };
        call.inner.has_seats(&known.view, &known.rules, 1)?;
        let op = MemberOp::Add {
            role: Role::Member,
            first: sees(&known.view),
        };
        let Some(mut plan) = plan(MemberEventOp::Add, op, users.to_vec()) else {
            return Ok(nothing());
        };
        // Whoever bans them takes the request away.
        plan.writes.push(put_on(&request, None));
        if let Some(value) = call.carry(&known, plan, nothing()).await? {
            call.tell_staff(&known, &user, "accept");
            call.inner.tell(users, &event(&conv, &user, "accept"));
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// `groups.refuse`: a request is answered with no; who asked is not told.
pub(super) async fn refuse(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let user = params.user("user")?;
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, &[]).await?;
        call.may(Action::Admit, &known)?;
        let Some(request) = call.inner.fact(&request_key(&conv, &user)).await? else {
            return Ok(nothing());
        };
        let writes = vec![put_on(&request, None)];
        if let Some(value) = call.carry_facts(&known, writes, nothing()).await? {
            call.tell_staff(&known, &user, "refuse");
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

fn state(state: &'static str) -> Value {
    Value::object([("state", Value::from(state))])
}

fn event(conv: &ConversationId, user: &UserId, op: &str) -> Value {
    Value::object([
        ("kind", Value::from("join_request")),
        ("op", op.into()),
        ("conv", conv.as_str().into()),
        ("user", user.as_str().into()),
    ])
}

impl Call<'_> {
    /// Tells those who run it that something about a request is new.
    fn tell_staff(&self, known: &Known, user: &UserId, op: &str) {
        let event = event(&known.view.conversation.id, user, op);
        self.inner.tell(&known.rules.staff, &event);
    }
}
