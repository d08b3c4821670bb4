//! Groups and channels, whoever is in them.

use im_core::frame::{Failure, Limits};
use im_core::model::{
    Body, Conversation, ConversationId, ConversationKind, Kind, Role, Stamps, UserId, Value,
};
use im_core::port::{MemberOp, View, Write};
use im_core::rule::{MemberEventOp, Power};

use super::{Act, is_joined, limit, why};
use crate::appender::port_failure;
use crate::service::decide::{Known, Plan, change, plan};
use crate::service::groups::{MUTE_MS_MAX, USERS_MAX, forget};
use crate::service::members::member_value;
use crate::service::params::{Params, bad};
use crate::service::rules::Door;
use crate::service::table::Call;

/// Conversations looked at in one call: each is read.
const SCAN_MAX: usize = 200;
/// Members removed in one commit.
const CLOSE_BATCH: usize = 500;
/// Commits of one call that closes; the next goes on.
const CLOSE_COMMITS_MAX: usize = 20;

/// `admin.groups.list`: groups and channels, those first that nothing happened in for longest.
pub(in crate::service) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::See).await?;
    let after = params.opt_text("after")?;
    let since = after.map_or(Ok(Stamps::START), |after| after.parse());
    let since = since.map_err(|_| bad("after", "is none of ours"))?;
    let most = limit(&mut params, SCAN_MAX, SCAN_MAX)?;
    let page = call.inner.store.changed(&since, most).await;
    let page = page.map_err(|error| port_failure(&error))?;
    let mut groups = Vec::new();
    for changed in &page.convs {
        let view = call.inner.view(&changed.conv, &[]).await?;
        groups.extend(
            view.filter(|view| is_joined(view).is_ok())
                .map(|view| line(&view)),
        );
    }
    let mut out = vec![("groups", Value::from(groups)), ("more", page.more.into())];
    if page.more {
        out.push(("next", page.stamps.to_string().into()));
    }
    Ok(Value::object(out))
}

/// `admin.groups.get`: one of them.
pub(in crate::service) async fn get(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::See).await?;
    let conv = params.conv()?;
    let view = call.staff_view(&conv).await?;
    is_joined(&view)?;
    Ok(line(&view))
}

/// `admin.groups.members`: who is in it, in the order of their ids.
pub(in crate::service) async fn members(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::See).await?;
    let conv = params.conv()?;
    let after = params.opt_user("after")?;
    let limit = limit(&mut params, Limits::PAGE_ENTRIES, Limits::PAGE_ENTRIES_MAX)?;
    is_joined(&call.staff_view(&conv).await?)?;
    let found = call.inner.store.members(&conv, after.as_ref(), limit + 1);
    let mut found = found.await.map_err(|error| port_failure(&error))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let lines: Vec<Value> = found.iter().map(|it| member_value(it, None)).collect();
    Ok(Value::object([
        ("members", Value::from(lines)),
        ("more", more.into()),
    ]))
}

/// `admin.groups.remove`: removes members, the owner too.
pub(in crate::service) async fn remove(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::Members).await?;
    let conv = params.conv()?;
    let users = params.users("users", USERS_MAX)?;
    let names: Vec<Value> = users
        .iter()
        .map(|user| user.as_str().to_owned().into())
        .collect();
    let act = Act::new("groups.remove").conv(&conv).with("users", names);
    let act = act.with("why", why(&mut params)?);
    is_joined(&call.staff_view(&conv).await?)?;
    call.acting(act, call.remove_members(&conv, &users)).await
}

/// `admin.groups.mute`: keeps a member from speaking in it, the owner too; 0 ends it.
pub(in crate::service) async fn mute(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::Members).await?;
    let conv = params.conv()?;
    let user = params.user("user")?;
    let ms = params.opt_count("ms")?;
    let ms = ms.ok_or_else(|| bad("ms", "is missing"))?.min(MUTE_MS_MAX);
    let act = Act::new("groups.mute")
        .conv(&conv)
        .user(&user)
        .with("ms", ms);
    let act = act.with("why", why(&mut params)?);
    is_joined(&call.staff_view(&conv).await?)?;
    let until = (ms > 0).then(|| call.inner.clock.timestamp().plus_ms(ms));
    let users = [user];
    let decide = |known: &Known| {
        let there: Vec<UserId> = those_in(&known.view, &users);
        if there.is_empty() {
            let words = "no such member";
            return Err(Failure::new(im_core::frame::ErrorCode::NotFound, words));
        }
        let (event, op) = (MemberEventOp::Mute(until), MemberOp::Mute(until));
        Ok(plan(event, op, there))
    };
    call.acting(act, change(&call, &conv, &users, decide)).await
}

/// `admin.groups.close`: everybody is removed, and nobody joins. Of a large one a part: `more` says
/// that the call is to be made again.
pub(in crate::service) async fn close(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::Close).await?;
    // What is kept under a key is the answer to all of it, and each commit would keep it.
    let call = call.without_key();
    let conv = params.conv()?;
    let act = Act::new("groups.close")
        .conv(&conv)
        .with("why", why(&mut params)?);
    is_joined(&call.staff_view(&conv).await?)?;
    call.acting(act, call.close(&conv)).await
}

fn those_in(view: &View, users: &[UserId]) -> Vec<UserId> {
    let there = view.members.iter().filter(|member| member.is_in());
    let there = there.map(|member| member.user.clone());
    there.filter(|user| users.contains(user)).collect()
}

impl Call<'_> {
    /// Removes those who are in.
    async fn remove_members(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Value, Failure> {
        change(self, conv, users, |known| {
            let gone = those_in(&known.view, users);
            let mut forgotten = forget(known, &gone);
            let made = plan(MemberEventOp::Remove, MemberOp::Remove, gone);
            Ok(made.map(|mut made| {
                made.writes.append(&mut forgotten);
                made
            }))
        })
        .await
    }

    /// It is disbanded, whether somebody is in it or not: nobody speaks, joins or changes it from
    /// here on. Nodes on which its members are connected hear of it by the entry.
    async fn shut(&self, conv: &ConversationId) -> Result<(), Failure> {
        let (disband, nobody) = (Value::from("disband"), Role::Nobody);
        let fields = [("op", disband), ("speaks", nobody.as_str().into())];
        let body = Body::of(Kind::Group, fields);
        change(self, conv, &[], |known| {
            let mut rules = known.rules.clone();
            let is_shut = rules.door == Door::Invite && !rules.listed && rules.staff.is_empty();
            if known.view.conversation.is_ended() && is_shut {
                return Ok(None);
            }
            rules.door = Door::Invite;
            rules.listed = false;
            rules.staff.clear();
            let writes = vec![Write::Speaks(nobody), rules.put(conv), self.relist(known)];
            let body = body.clone();
            Ok(Some(Plan { body, writes }))
        })
        .await?;
        self.inner.list_soon(conv);
        Ok(())
    }

    async fn close(&self, conv: &ConversationId) -> Result<Value, Failure> {
        self.shut(conv).await?;
        let mut removed = 0;
        let mut more = true;
        for _ in 0..CLOSE_COMMITS_MAX {
            let members = self.inner.store.members(conv, None, CLOSE_BATCH).await;
            let members = members.map_err(|error| port_failure(&error))?;
            if members.is_empty() {
                more = false;
                break;
            }
            let users: Vec<UserId> = members.into_iter().map(|member| member.user).collect();
            self.remove_members(conv, &users).await?;
            removed += users.len() as u64;
        }
        Ok(Value::object([
            ("removed", Value::from(removed)),
            ("more", more.into()),
        ]))
    }
}

fn line(view: &View) -> Value {
    let Conversation {
        id,
        kind,
        title,
        head,
        member_count,
        ..
    } = &view.conversation;
    debug_assert_ne!(*kind, ConversationKind::Audit);
    let mut out = vec![
        ("conv", Value::from(id.as_str().to_owned())),
        ("kind", kind.as_str().into()),
        ("members", u64::from(*member_count).into()),
        ("last_seq", head.0.into()),
    ];
    out.extend(title.clone().map(|title| ("title", title.into())));
    Value::object(out)
}
