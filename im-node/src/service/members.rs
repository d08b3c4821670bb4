//! Who is in a conversation, and what it and they are called.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    Body, Conversation, ConversationId, Fact, FactKey, FactTable, Kind, Member, Role, UserId, Value,
};
use im_core::port::{FactQuery, Rejected};
use im_core::rule::Action;

use super::decide::{DECIDE_TRIES_MAX, Known, Plan, nothing};
use super::facts::{remove, set};
use super::groups::about;
use super::params::{Params, checked_text};
use super::table::Call;
use crate::appender::{failure, port_failure};

/// Characters of what a member is called here.
const NICK_CHARS_MAX: usize = 64;

pub(super) fn nick_key(conv: &ConversationId, user: &UserId) -> FactKey {
    about(FactTable::Nick, conv, user)
}

/// `groups.members`: who is in, in the order of their ids. Who may not see them all, as a
/// subscriber of a channel, sees those who run it.
pub(super) async fn members(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let after = params.opt_user("after")?;
    let limit = params.page_limit()?;
    let known = call.known(&conv, &[]).await?;
    call.may(Action::See, &known)?;
    let mut found = match call.may(Action::SeeMembers, &known) {
        Ok(()) => {
            let store = &call.inner.store;
            let found = store.members(&conv, after.as_ref(), limit + 1).await;
            found.map_err(|error| port_failure(&error))?
        }
        Err(_) => call.those_above(&known, after.as_ref()).await?,
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let nicks = call.nicks(&conv, after.as_ref(), found.last()).await?;
    let line = |member: &Member| {
        let nick = nicks
            .iter()
            .find(|fact| fact.key.key == member.user.as_str());
        member_value(member, nick)
    };
    let members: Vec<Value> = found.iter().map(line).collect();
    Ok(Value::object([
        ("members", Value::from(members)),
        ("more", more.into()),
    ]))
}

/// `groups.nick`: what a member is called here; without `nick`, nothing.
pub(super) async fn nick(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let user = params.opt_user("user")?;
    let user = user.unwrap_or_else(|| call.caller.user.clone());
    let nick = checked_text(&mut params, "nick", NICK_CHARS_MAX)?;
    let nick = nick
        .map(|nick| call.inner.clean("nick", nick))
        .transpose()?;
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, std::slice::from_ref(&user)).await?;
        call.may(Action::See, &known)?;
        let no_member = || Failure::new(ErrorCode::NotFound, "no such member");
        let target = known.find_in(&user).ok_or_else(no_member)?;
        call.may(Action::SetNick(target), &known)?;
        let key = nick_key(&conv, &user);
        let is = call.inner.fact(&key).await?.map(|fact| fact.value);
        let to = nick
            .as_ref()
            .map(|nick| Value::from(nick.as_str()).to_json());
        if is == to {
            return Ok(nothing());
        }
        let nick = nick.as_deref().map_or(Value::Null, Value::from);
        let users = vec![Value::from(user.as_str())];
        let body = Body::of(
            Kind::Member,
            [
                ("op", "nick".into()),
                ("users", users.into()),
                ("nick", nick),
            ],
        );
        let put = match to {
            Some(to) => set(key, to),
            None => remove(key),
        };
        let writes = vec![known.touch(), put];
        if let Some(value) = call.carry(&known, Plan { body, writes }, nothing()).await? {
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// `conv.get`: a conversation, what it has set, and the caller's place in it.
pub(super) async fn get(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let known = call.known(&conv, &[]).await?;
    let me = known.me();
    call.may(Action::See, &known)?;
    let Conversation {
        id,
        kind,
        title,
        epoch,
        head,
        member_count,
        first_seq,
        speaks,
        hide_history,
        ..
    } = known.view.conversation.clone();
    let first_seq = me.map_or(first_seq, |member| member.first_seq.max(first_seq));
    let mut out = vec![
        ("conv", Value::from(id.as_str())),
        ("kind", kind.as_str().into()),
        ("epoch", epoch.0.into()),
        ("first_seq", first_seq.0.into()),
        ("last_seq", head.0.into()),
        ("members", u64::from(member_count).into()),
    ];
    out.extend(title.map(|title| ("title", title.into())));
    if kind.has_roles() {
        out.extend([
            ("speaks", speaks.as_str().into()),
            ("hide_history", hide_history.into()),
        ]);
        out.extend(known.rules.shown());
    }
    if speaks == Role::Nobody {
        out.push(("disbanded", true.into()));
    }
    if let Some(me) = me {
        let nick = match kind.has_roles() {
            true => call.inner.fact(&nick_key(&conv, &me.user)).await?,
            false => None,
        };
        out.push(("me", member_value(me, nick.as_ref())));
    }
    Ok(Value::object(out))
}

impl Call<'_> {
    /// Those who run a conversation.
    async fn those_above(
        &self,
        known: &Known,
        after: Option<&UserId>,
    ) -> Result<Vec<Member>, Failure> {
        let conv = &known.view.conversation.id;
        let view = self.inner.view(conv, &known.rules.staff).await?;
        let mut found = view.map(|view| view.members).unwrap_or_default();
        found.retain(|one| one.is_in() && one.role >= Role::Admin && after < Some(&one.user));
        found.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        Ok(found)
    }

    /// What members above one, up to another, are called. Who goes keeps no name, so there are no
    /// more of them than members.
    async fn nicks(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        last: Option<&Member>,
    ) -> Result<Vec<Fact>, Failure> {
        let Some(last) = last else {
            return Ok(Vec::new());
        };
        let query = FactQuery::Of {
            table: FactTable::Nick,
            owner: conv.as_str().to_owned(),
            after: after.map(|user| user.as_str().to_owned()),
            // No id has a control character: the first text above this one.
            below: Some(format!("{}\u{1}", last.user.as_str())),
            limit: im_core::frame::Limits::PAGE_ENTRIES_MAX,
        };
        self.inner.facts(&query).await
    }
}

pub(super) fn member_value(member: &Member, nick: Option<&Fact>) -> Value {
    let mut out = vec![
        ("user", Value::from(member.user.as_str())),
        ("role", member.role.as_str().into()),
        ("read", member.read.0.into()),
        ("delivered", member.delivered.0.into()),
    ];
    let until = member.muted_until;
    out.extend(until.map(|until| ("muted_until", until.0.into())));
    let nick = nick.and_then(|fact| Value::from_json(&fact.value).ok());
    out.extend(nick.map(|nick| ("nick", nick)));
    Value::object(out)
}
