//! Groups: making them, and who is in them.

use im_core::frame::{ErrorCode, Failure, Limits};
use im_core::model::{Body, Conversation, ConversationKind, Kind, Member, Role, UserId, Value};
use im_core::port::{MemberChange, MemberOp, NewConversation, View, Write};
use im_core::rule::{Action, MemberEventOp};

use super::decide::{change, change_one, plan, sees};
use super::params::{Params, bad, is_hidden};
use super::table::Call;
use crate::appender::port_failure;
use crate::node::Inner;

/// Users named in one call.
pub(super) const USERS_MAX: usize = 500;
/// Characters of a title.
const TITLE_CHARS_MAX: usize = 200;
/// The longest mute: ten years, in milliseconds.
pub(super) const MUTE_MS_MAX: u64 = 10 * 365 * 24 * 3_600 * 1_000;

/// A title that may be one, as it may be shown.
pub(super) fn title(inner: &Inner, text: String) -> Result<String, Failure> {
    let chars = text.chars().count();
    if chars == 0 || text.chars().any(is_hidden) {
        let words = "must be a text of at least one character, without control or direction ones";
        return Err(bad("title", words));
    }
    if chars > TITLE_CHARS_MAX {
        let words = "title: has more than 200 characters";
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    inner.clean("title", text)
}

pub(super) async fn create(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let title = title(call.inner, params.text("title")?)?;
    let mut users = params.users("members", USERS_MAX)?;
    let hide_history = params.flag("hide_history")?;
    users.retain(|user| *user != call.caller.user);
    call.inner.all_known(&users).await?;
    let kind = ConversationKind::Group;
    let conv = call.new_group().await?;
    let writes = begin(&call, kind, title, hide_history, users);
    let value = Value::object([("conv", Value::from(conv.as_str()))]);
    call.commit(conv, writes, value).await
}

/// What makes a conversation of the caller's, with these members, and tells of it.
pub(super) fn begin(
    call: &Call<'_>,
    kind: ConversationKind,
    title: String,
    hide_history: bool,
    users: Vec<UserId>,
) -> Vec<Write> {
    let owner = &call.caller.user;
    let mut members = vec![(owner.clone(), Role::Owner)];
    members.extend(users.into_iter().map(|user| (user, Role::Member)));
    let names = members.iter().map(|(user, _)| user.as_str().into());
    let body = Body::of(
        Kind::Group,
        [
            ("op", "create".into()),
            ("title", title.as_str().into()),
            ("users", names.collect::<Vec<Value>>().into()),
        ],
    );
    let create = NewConversation {
        kind,
        title: Some(title),
        hide_history,
        members,
    };
    vec![Write::Create(create), call.inner.server_entry(owner, body)]
}

pub(super) async fn add(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let users = params.users("users", USERS_MAX)?;
    call.inner.all_known(&users).await?;
    change(&call, &conv, &users, |view: &View, me: Option<&Member>| {
        call.authorize(Action::Add, view, me)?;
        let is_in = |user: &UserId| view.members.iter().any(|m| m.user == *user && m.is_in());
        let new: Vec<UserId> = users.iter().filter(|user| !is_in(user)).cloned().collect();
        let first = sees(view);
        let op = MemberOp::Add {
            role: Role::Member,
            first,
        };
        Ok(plan(MemberEventOp::Add, op, new))
    })
    .await
}

pub(super) async fn remove(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let users = params.users("users", USERS_MAX)?;
    change(&call, &conv, &users, |view: &View, me: Option<&Member>| {
        let mut gone = Vec::new();
        for target in view.members.iter().filter(|m| users.contains(&m.user)) {
            // Who has left is not there to remove; the call did what it was to do.
            if target.is_in() {
                call.authorize(Action::Remove(target), view, me)?;
                gone.push(target.user.clone());
            }
        }
        call.authorize(Action::See, view, me)?;
        Ok(plan(MemberEventOp::Remove, MemberOp::Remove, gone))
    })
    .await
}

pub(super) async fn leave(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    change(&call, &conv, &[], |view: &View, me: Option<&Member>| {
        let member_count = view.conversation.member_count;
        call.authorize(Action::Leave { member_count }, view, me)?;
        Ok(plan(
            MemberEventOp::Leave,
            MemberOp::Remove,
            vec![call.caller.user.clone()],
        ))
    })
    .await
}

pub(super) async fn role(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let user = params.user("user")?;
    let role = Role::parse(&params.text("role")?)
        .ok_or_else(|| bad("role", "must be owner, admin or member"))?;
    change_one(&call, &conv, &user, |view, me, target| {
        call.authorize(Action::SetRole { target, role }, view, me)?;
        if target.role == role {
            return Ok(None);
        }
        let mut made = plan(
            MemberEventOp::Role(role),
            MemberOp::Role(role),
            vec![user.clone()],
        );
        if role == Role::Owner
            && let Some(made) = &mut made
        {
            // A group has one owner: who gives it away stays as an admin.
            let user = call.caller.user.clone();
            let op = MemberOp::Role(Role::Admin);
            made.writes.push(Write::Member(MemberChange { user, op }));
        }
        Ok(made)
    })
    .await
}

pub(super) async fn mute(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let user = params.user("user")?;
    let ms = params
        .opt_count("ms")?
        .ok_or_else(|| bad("ms", "is missing"))?
        .min(MUTE_MS_MAX);
    let until = (ms > 0).then(|| call.inner.clock.timestamp().plus_ms(ms));
    change_one(&call, &conv, &user, |view, me, target| {
        call.authorize(Action::Mute(target), view, me)?;
        let (event, op) = (MemberEventOp::Mute(until), MemberOp::Mute(until));
        Ok(plan(event, op, vec![user.clone()]))
    })
    .await
}

pub(super) async fn members(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let after = params.opt_user("after")?;
    let limit = params
        .opt_count("limit")?
        .unwrap_or(Limits::PAGE_ENTRIES as u64);
    let limit = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .clamp(1, Limits::PAGE_ENTRIES_MAX);
    let view = call.view(&conv, &[]).await?;
    call.authorize(Action::See, &view, call.me(&view))?;
    let found = call
        .inner
        .store
        .members(&conv, after.as_ref(), limit + 1)
        .await;
    let mut found = found.map_err(|error| port_failure(&error))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let members: Vec<Value> = found.iter().map(member_value).collect();
    Ok(Value::object([
        ("members", Value::from(members)),
        ("more", more.into()),
    ]))
}

pub(super) async fn get(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let view = call.view(&conv, &[]).await?;
    let me = call.me(&view);
    call.authorize(Action::See, &view, me)?;
    let Conversation {
        id,
        kind,
        title,
        epoch,
        head,
        member_count,
        first_seq,
        ..
    } = view.conversation.clone();
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
    out.extend(me.map(|member| ("me", member_value(member))));
    Ok(Value::object(out))
}

pub(super) fn member_value(member: &Member) -> Value {
    let mut out = vec![
        ("user", Value::from(member.user.as_str())),
        ("role", member.role.as_str().into()),
        ("read", member.read.0.into()),
        ("delivered", member.delivered.0.into()),
    ];
    out.extend(
        member
            .muted_until
            .map(|until| ("muted_until", until.0.into())),
    );
    Value::object(out)
}
