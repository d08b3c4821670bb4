//! Deciding on a fresh view, and committing on the condition that it still holds.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Body, ConversationId, Member, NewEntry, UserId, Value, requested_id};
use im_core::port::{
    Commit, FirstSeq, MemberChange, MemberOp, Record, RecordKey, Rejected, Standing, View, Write,
};
use im_core::rule::{Action, ActorView, MemberEvent, MemberEventOp, authorize};

use super::table::Call;
use crate::appender::{failure, port_failure};
use crate::node::Inner;

/// How often a call decides anew because the members changed meanwhile.
const DECIDE_TRIES_MAX: u32 = 8;

/// What a decision came to: the entry that tells of it, and what it changes.
pub(super) struct Plan {
    pub(super) body: Body,
    pub(super) writes: Vec<Write>,
}

/// What those see who join now.
pub(super) const fn sees(view: &View) -> FirstSeq {
    if view.conversation.hide_history {
        FirstSeq::Here
    } else {
        FirstSeq::All
    }
}

fn find<'a>(view: &'a View, user: &UserId) -> Result<&'a Member, Failure> {
    view.members
        .iter()
        .find(|member| member.user == *user)
        .ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such member"))
}

pub(super) fn plan(event: MemberEventOp, op: MemberOp, users: Vec<UserId>) -> Option<Plan> {
    if users.is_empty() {
        return None;
    }
    let change = |user: &UserId| {
        let user = user.clone();
        Write::Member(MemberChange { user, op })
    };
    Some(Plan {
        writes: users.iter().map(change).collect(),
        body: MemberEvent { op: event, users }.to_body(),
    })
}

/// [`change`] of one member, whom the caller may see.
pub(super) async fn change_one<F>(
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
pub(super) async fn change<F>(
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
        let mut writes = vec![call.inner.server_entry(&call.caller.user, plan.body)];
        writes.extend(plan.writes);
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
    pub(super) async fn new_group(&self) -> Result<ConversationId, Failure> {
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
    pub(super) fn server_entry(&self, user: &UserId, body: Body) -> Write {
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
