//! Who may not come in again.

use im_core::frame::Failure;
use im_core::model::{Body, ConversationId, Fact, FactKey, FactTable, Kind, Member, UserId, Value};
use im_core::port::{MemberChange, MemberOp, Put, Rejected, Was, Write};
use im_core::rule::Action;

use super::decide::{DECIDE_TRIES_MAX, Known, Plan, nothing};
use super::facts::{put_on, remove};
use super::groups::{about, forget};
use super::params::{Params, checked_text};
use super::requests::{all_of, request_key, user_line};
use super::table::Call;
use crate::appender::failure;
use crate::node::Inner;

/// Bans of one conversation.
const BANS_MAX: usize = 1_000;
/// Characters of why somebody is banned.
const WHY_CHARS_MAX: usize = 200;

pub(super) fn ban_key(conv: &ConversationId, user: &UserId) -> FactKey {
    about(FactTable::Ban, conv, user)
}

/// Those of some users who are banned.
pub(super) async fn banned_among(
    inner: &Inner,
    conv: &ConversationId,
    users: &[UserId],
) -> Result<Vec<UserId>, Failure> {
    let bans = inner.facts(&all_of(FactTable::Ban, conv, BANS_MAX)).await?;
    let is_banned = |user: &&UserId| bans.iter().any(|ban| ban.key.key == user.as_str());
    Ok(users.iter().filter(is_banned).cloned().collect())
}

/// `groups.ban`: removes somebody, if they are in, and keeps them out until that is ended.
pub(super) async fn ban(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let user = params.user("user")?;
    let why = checked_text(&mut params, "why", WHY_CHARS_MAX)?;
    let users = std::slice::from_ref(&user);
    call.inner.all_known(users).await?;
    let key = ban_key(&conv, &user);
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, users).await?;
        call.may(Action::See, &known)?;
        let target = known.find_in(&user);
        call.may(Action::Ban(target), &known)?;
        let last = call.inner.fact(&key).await?;
        if last.is_some() && target.is_none() {
            return Ok(nothing());
        }
        call.has_room(&key, BANS_MAX, "too many are banned").await?;
        let mut value = vec![
            ("by", Value::from(call.caller.user.as_str())),
            ("at", call.inner.clock.timestamp().0.into()),
        ];
        value.extend(why.as_deref().map(|why| ("why", why.into())));
        let mut plan = keep_out(&known, target, &user);
        plan.writes.extend([
            Write::Put(Put {
                key: key.clone(),
                to: Some((Value::object(value).to_json(), None)),
                was: last.map_or(Was::Absent, |fact| Was::Value(fact.value)),
            }),
            remove(request_key(&conv, &user)),
        ]);
        if let Some(value) = call.carry(&known, plan, nothing()).await? {
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// The entry that tells of a ban, and what it does to who was in. It moves the version: who is on
/// their way in is decided on anew.
fn keep_out(known: &Known, target: Option<&Member>, user: &UserId) -> Plan {
    let users = Value::from(vec![Value::from(user.as_str())]);
    if target.is_none() {
        let body = Body::of(Kind::Group, [("op", "ban".into()), ("users", users)]);
        let writes = vec![known.touch()];
        return Plan { body, writes };
    }
    let op = [
        ("op", "remove".into()),
        ("users", users),
        ("ban", true.into()),
    ];
    let gone = MemberChange {
        user: user.clone(),
        op: MemberOp::Remove,
    };
    let mut writes = vec![Write::Member(gone)];
    writes.extend(forget(known, std::slice::from_ref(user)));
    Plan {
        body: Body::of(Kind::Member, op),
        writes,
    }
}

/// `groups.unban`: somebody may come in again, as anybody may.
pub(super) async fn unban(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let user = params.user("user")?;
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, &[]).await?;
        call.may(Action::Admit, &known)?;
        let Some(ban) = call.inner.fact(&ban_key(&conv, &user)).await? else {
            return Ok(nothing());
        };
        let users = Value::from(vec![Value::from(user.as_str())]);
        let body = Body::of(Kind::Group, [("op", "unban".into()), ("users", users)]);
        let writes = vec![known.touch(), put_on(&ban, None)];
        if let Some(value) = call.carry(&known, Plan { body, writes }, nothing()).await? {
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// `groups.bans`: who is banned, in the order of their ids.
pub(super) async fn bans(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let after = params.opt_user("after")?;
    let limit = params.page_limit()?;
    let known = call.known(&conv, &[]).await?;
    call.may(Action::Admit, &known)?;
    let after = after.map(|user| user.as_str().to_owned());
    let of = (FactTable::Ban, conv.as_str(), "bans");
    let line = |fact: &Fact| Some(user_line(fact));
    call.page_of(of, after, limit, line).await
}
