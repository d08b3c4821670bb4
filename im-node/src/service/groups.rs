//! Groups: making them, who is in them, and their end.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    Body, ConversationId, ConversationKind, FactKey, FactTable, Kind, Member, Role, UserId, Value,
};
use im_core::port::{MemberChange, MemberOp, NewConversation, Rejected, Write};
use im_core::rule::{Action, MemberEventOp};

use super::bans::banned_among;
use super::decide::{DECIDE_TRIES_MAX, Known, Plan, change, change_one, nothing, plan, sees};
use super::facts::remove as remove_fact;
use super::members::nick_key;
use super::params::{Params, bad, is_hidden};
use super::requests::asked_among;
use super::rules::{Rules, STAFF_MAX};
use super::table::Call;
use crate::appender::failure;
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
    let kind = ConversationKind::Group;
    if users.len() >= call.inner.members_max(kind) as usize {
        return Err(Failure::new(
            ErrorCode::Conflict,
            "so many may not be in it",
        ));
    }
    call.inner.all_known(&users).await?;
    let conv = call.new_group().await?;
    let start = Start {
        kind,
        title,
        hide_history,
        users,
    };
    let writes = begin(&call, &conv, start, Rules::new());
    let value = Value::object([("conv", Value::from(conv.as_str()))]);
    call.commit(conv, writes, value).await
}

/// How a conversation begins.
pub(super) struct Start {
    pub(super) kind: ConversationKind,
    pub(super) title: String,
    pub(super) hide_history: bool,
    /// Who is in it beside the caller.
    pub(super) users: Vec<UserId>,
}

/// What makes a conversation of the caller's, and tells of it.
pub(super) fn begin(
    call: &Call<'_>,
    conv: &ConversationId,
    start: Start,
    mut rules: Rules,
) -> Vec<Write> {
    let owner = &call.caller.user;
    let mut members = vec![(owner.clone(), Role::Owner)];
    members.extend(start.users.into_iter().map(|user| (user, Role::Member)));
    let names = members.iter().map(|(user, _)| user.as_str().into());
    let body = Body::of(
        Kind::Group,
        [
            ("op", "create".into()),
            ("title", start.title.as_str().into()),
            ("users", names.collect::<Vec<Value>>().into()),
        ],
    );
    let create = NewConversation {
        kind: start.kind,
        title: Some(start.title),
        hide_history: start.hide_history,
        members,
    };
    rules.staff = vec![owner.clone()];
    vec![
        Write::Create(create),
        call.inner.server_entry(owner, body),
        rules.put(conv),
    ]
}

pub(super) async fn add(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let users = params.users("users", USERS_MAX)?;
    call.inner.all_known(&users).await?;
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, &users).await?;
        call.may(Action::Add, &known)?;
        let new = users.iter().filter(|user| known.find_in(user).is_none());
        let new: Vec<UserId> = new.cloned().collect();
        if !banned_among(call.inner, &conv, &new).await?.is_empty() {
            let words = "one of them may not come in: end that first";
            return Err(Failure::new(ErrorCode::Conflict, words));
        }
        call.inner.has_seats(&known.view, &known.rules, new.len())?;
        let asked = asked_among(call.inner, &conv, &new).await?;
        let op = MemberOp::Add {
            role: Role::Member,
            first: sees(&known.view),
        };
        let Some(mut plan) = plan(MemberEventOp::Add, op, new) else {
            return Ok(nothing());
        };
        // Who asked has their answer.
        plan.writes.extend(asked.into_iter().map(remove_fact));
        if let Some(value) = call.carry(&known, plan, nothing()).await? {
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// What goes with members who go: their names here.
pub(super) fn forget_names(conv: &ConversationId, gone: &[UserId]) -> Vec<Write> {
    let names = gone.iter().map(|user| remove_fact(nick_key(conv, user)));
    names.collect()
}

/// The same, and their part in running it.
pub(super) fn forget(known: &Known, gone: &[UserId]) -> Vec<Write> {
    let conv = &known.view.conversation.id;
    let mut writes = forget_names(conv, gone);
    let mut rules = None;
    for user in gone {
        let so_far = rules.as_ref().unwrap_or(&known.rules);
        rules = so_far.staffed(user, None).or(rules);
    }
    writes.extend(rules.map(|rules| rules.put(conv)));
    writes
}

pub(super) async fn remove(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let users = params.users("users", USERS_MAX)?;
    change(&call, &conv, &users, |known| {
        let mut gone = Vec::new();
        // Who has left is not there to remove; the call did what it was to do.
        for target in users.iter().filter_map(|user| known.find_in(user)) {
            call.may(Action::Remove(target), known)?;
            gone.push(target.user.clone());
        }
        call.may(Action::See, known)?;
        let forgotten = forget(known, &gone);
        let mut made = plan(MemberEventOp::Remove, MemberOp::Remove, gone);
        if let Some(made) = &mut made {
            made.writes.extend(forgotten);
        }
        Ok(made)
    })
    .await
}

pub(super) async fn leave(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    change(&call, &conv, &[], |known| {
        let member_count = known.view.conversation.member_count;
        call.may(Action::Leave { member_count }, known)?;
        let me = vec![call.caller.user.clone()];
        let forgotten = forget(known, &me);
        let mut made = plan(MemberEventOp::Leave, MemberOp::Remove, me);
        if let Some(made) = &mut made {
            made.writes.extend(forgotten);
        }
        Ok(made)
    })
    .await
}

pub(super) async fn role(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let user = params.user("user")?;
    let role = params
        .opt_role("role")?
        .ok_or_else(|| bad("role", "is missing"))?;
    change_one(&call, &conv, &user, |known, target| {
        call.may(Action::SetRole { target, role }, known)?;
        if target.role == role {
            return Ok(None);
        }
        let staff = known.rules.staffed(&user, Some(role));
        if let Some(staff) = staff.as_ref().filter(|rules| rules.staff.len() > STAFF_MAX) {
            let words = format!("it has {} admins already", staff.staff.len() - 1);
            return Err(Failure::new(ErrorCode::Conflict, words));
        }
        let mut made = plan(
            MemberEventOp::Role(role),
            MemberOp::Role(role),
            vec![user.clone()],
        );
        if let Some(made) = &mut made {
            made.writes.extend(staff.map(|rules| rules.put(&conv)));
            if role == Role::Owner {
                // A group has one owner: who gives it away stays as an admin.
                let user = call.caller.user.clone();
                let op = MemberOp::Role(Role::Admin);
                made.writes.push(Write::Member(MemberChange { user, op }));
            }
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
    change_one(&call, &conv, &user, |known, target: &Member| {
        call.may(Action::Mute(target), known)?;
        let (event, op) = (MemberEventOp::Mute(until), MemberOp::Mute(until));
        Ok(plan(event, op, vec![user.clone()]))
    })
    .await
}

/// `groups.disband`: nothing is said or changed in it any more; its members may look back, and go.
pub(super) async fn disband(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let value = change(&call, &conv, &[], |known| {
        if known.view.conversation.is_ended() && known.me().is_some_and(Member::is_in) {
            return Ok(None);
        }
        call.may(Action::Disband, known)?;
        let nobody = Role::Nobody;
        let body = Body::of(
            Kind::Group,
            [("op", "disband".into()), ("speaks", nobody.as_str().into())],
        );
        let mut writes = vec![Write::Speaks(nobody)];
        if known.rules.listed {
            writes.push(call.relist(known));
        }
        Ok(Some(Plan { body, writes }))
    })
    .await?;
    call.inner.list_soon(&conv);
    Ok(value)
}

/// A fact about a user in a conversation.
pub(super) fn about(table: FactTable, conv: &ConversationId, user: &UserId) -> FactKey {
    FactKey::new(table, conv.as_str(), user.as_str())
}
