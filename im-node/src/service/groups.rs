//! Groups: making them, and who is in them.

use im_core::frame::{ErrorCode, Failure, Limits};
use im_core::model::{
    Body, Conversation, ConversationId, ConversationKind, Kind, Member, NewEntry, Role, UserId,
    Value, requested_id,
};
use im_core::port::{
    Commit, FirstSeq, MemberChange, MemberOp, NewConversation, Record, RecordKey, Rejected,
    Standing, View, Write,
};
use im_core::rule::{Action, ActorView, MemberEvent, MemberEventOp, authorize};

use super::params::{Params, bad};
use super::table::Call;
use crate::appender::{failure, port_failure};
use crate::node::Inner;

/// Users named in one call.
const USERS_MAX: usize = 500;
/// Characters of a title.
const TITLE_CHARS_MAX: usize = 200;
/// How often a call decides anew because the members changed meanwhile.
const DECIDE_TRIES_MAX: u32 = 8;
/// The longest mute: ten years, in milliseconds.
const MUTE_MS_MAX: u64 = 10 * 365 * 24 * 3_600 * 1_000;

/// What a decision about members came to.
struct Plan {
    event: MemberEvent,
    changes: Vec<MemberChange>,
}

pub(super) async fn create(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let inner = call.inner;
    let title = params.text("title")?;
    let chars = title.chars().count();
    if chars == 0 || title.contains('\0') {
        return Err(bad("title", "must be a text of at least one character"));
    }
    if chars > TITLE_CHARS_MAX {
        return Err(Failure::new(
            ErrorCode::TooLarge,
            "title: has more than 200 characters",
        ));
    }
    let mut users = params.users("members", USERS_MAX)?;
    let hide_history = params.flag("hide_history")?;
    users.retain(|user| *user != call.caller.user);
    inner.all_known(&users).await?;
    let conv = call.new_group().await?;
    let mut members = vec![(call.caller.user.clone(), Role::Owner)];
    members.extend(users.into_iter().map(|user| (user, Role::Member)));
    let names: Vec<Value> = members
        .iter()
        .map(|(user, _)| user.as_str().into())
        .collect();
    let body = Body::of(
        Kind::Group,
        [
            ("op", "create".into()),
            ("title", title.as_str().into()),
            ("users", names.into()),
        ],
    );
    let kind = ConversationKind::Group;
    let create = NewConversation {
        kind,
        title: Some(title),
        hide_history,
        members,
    };
    let value = Value::object([("conv", Value::from(conv.as_str()))]);
    let mut writes = vec![
        Write::Create(create),
        inner.server_entry(&call.caller.user, body),
    ];
    writes.extend(call.record(&value));
    let commit = Commit {
        conv,
        expect_version: None,
        actor: None,
        writes,
    };
    match inner.appender.commit(commit).await {
        Ok(_) => Ok(value),
        Err(rejected) => call.done_or(rejected),
    }
}

pub(super) async fn add(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let users = params.users("users", USERS_MAX)?;
    call.inner.all_known(&users).await?;
    change(&call, &conv, &users, |view: &View, me: Option<&Member>| {
        call.authorize(Action::Add, view, me)?;
        let is_in = |user: &UserId| view.members.iter().any(|m| m.user == *user && m.is_in());
        let new: Vec<UserId> = users.iter().filter(|user| !is_in(user)).cloned().collect();
        let hidden = view.conversation.hide_history;
        let first = if hidden {
            FirstSeq::Here
        } else {
            FirstSeq::All
        };
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
            made.changes.push(MemberChange {
                user,
                op: MemberOp::Role(Role::Admin),
            });
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

fn member_value(member: &Member) -> Value {
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

fn find<'a>(view: &'a View, user: &UserId) -> Result<&'a Member, Failure> {
    view.members
        .iter()
        .find(|member| member.user == *user)
        .ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such member"))
}

fn plan(event: MemberEventOp, op: MemberOp, users: Vec<UserId>) -> Option<Plan> {
    if users.is_empty() {
        return None;
    }
    let changes = users
        .iter()
        .map(|user| MemberChange {
            user: user.clone(),
            op,
        })
        .collect();
    Some(Plan {
        event: MemberEvent { op: event, users },
        changes,
    })
}

/// [`change`] of one member, whom the caller may see.
async fn change_one<F>(
    call: &Call<'_>,
    conv: &ConversationId,
    user: &UserId,
    decide: F,
) -> Result<Value, Failure>
where
    F: Fn(&View, Option<&Member>, &Member) -> Result<Option<Plan>, Failure>,
{
    let users = std::slice::from_ref(user);
    change(call, conv, users, |view: &View, me: Option<&Member>| {
        // A stranger must not learn who is in.
        call.authorize(Action::See, view, me)?;
        decide(view, me, find(view, user)?)
    })
    .await
}

/// Decides on a fresh view and commits on the condition that it still holds; decides anew when it
/// does not.
async fn change<F>(
    call: &Call<'_>,
    conv: &ConversationId,
    users: &[UserId],
    decide: F,
) -> Result<Value, Failure>
where
    F: Fn(&View, Option<&Member>) -> Result<Option<Plan>, Failure>,
{
    let value = Value::Object(Vec::new());
    for _ in 0..DECIDE_TRIES_MAX {
        let view = call.view(conv, users).await?;
        let Some(plan) = decide(&view, call.me(&view))? else {
            // Nothing to change: it is as it was to be.
            return Ok(value);
        };
        let entry = call
            .inner
            .server_entry(&call.caller.user, plan.event.to_body());
        let mut writes = vec![entry];
        writes.extend(plan.changes.into_iter().map(Write::Member));
        writes.extend(call.record(&value));
        let commit = Commit {
            conv: conv.clone(),
            expect_version: Some(view.conversation.version),
            actor: None,
            writes,
        };
        match call.inner.appender.commit(commit).await {
            Ok(_) => return Ok(value),
            Err(Rejected::Conflict) => {}
            Err(rejected) => return call.done_or(rejected),
        }
    }
    Err(failure(&Rejected::Conflict))
}

impl Call<'_> {
    /// A group and its caller, and the users named.
    pub(super) async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<View, Failure> {
        let mut all = vec![self.caller.user.clone()];
        all.extend(
            users
                .iter()
                .filter(|user| **user != self.caller.user)
                .cloned(),
        );
        let view = self.inner.view(conv, &all).await?;
        view.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such conversation"))
    }

    pub(super) fn me<'v>(&self, view: &'v View) -> Option<&'v Member> {
        view.members
            .iter()
            .find(|member| member.user == self.caller.user)
    }

    pub(super) fn authorize(
        &self,
        action: Action<'_>,
        view: &View,
        member: Option<&Member>,
    ) -> Result<(), Failure> {
        let now = self.inner.clock.timestamp();
        authorize(action, ActorView::of(&view.conversation, member, now))
    }

    /// The id of a group to make. Of a request that may come twice it is the same one, so that both
    /// go where they see each other.
    async fn new_group(&self) -> Result<ConversationId, Failure> {
        if let Some(RecordKey::Answer { user, key }) = self.record_key() {
            let conv = requested_id(&user, &key);
            // Made so long ago that the answer is forgotten: then it is another request.
            if self.inner.view(&conv, &[]).await?.is_none() {
                return Ok(conv);
            }
        }
        ConversationId::new(format!("g-{}", self.inner.ids.next()))
            .map_err(|_| Failure::new(ErrorCode::Internal, "an internal error"))
    }

    /// What keeps the answer under the call's key, if it has one.
    pub(super) fn record(&self, value: &Value) -> Option<Write> {
        let record = |key| Record {
            key,
            value: value.to_json(),
            expires_at: self.inner.clock.timestamp().plus_ms(super::table::KEY_MS),
        };
        self.record_key().map(record).map(Write::Record)
    }

    /// A commit was rejected: an answer kept under the call's key is the answer.
    pub(super) fn done_or(&self, rejected: Rejected) -> Result<Value, Failure> {
        match rejected {
            Rejected::Done(value) => Ok(Value::from_json(&value).unwrap_or(Value::Null)),
            rejected => Err(failure(&rejected)),
        }
    }
}

impl Inner {
    /// An entry that the server writes for what a user did.
    fn server_entry(&self, user: &UserId, body: Body) -> Write {
        Write::Append(NewEntry {
            id: self.ids.next(),
            from: user.clone(),
            at: self.clock.timestamp(),
            cm_id: None,
            digest: 0,
            body,
            reply_to: None,
            mentions: im_core::model::Mentions::None,
            expires_at: None,
        })
    }

    /// Refuses users that the directory does not know.
    pub(super) async fn all_known(&self, users: &[UserId]) -> Result<(), Failure> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let found = directory
            .standing(users)
            .await
            .map_err(|error| port_failure(&error))?;
        if found.contains(&Standing::Unknown) {
            return Err(Failure::new(ErrorCode::NotFound, "no such user"));
        }
        Ok(())
    }
}
