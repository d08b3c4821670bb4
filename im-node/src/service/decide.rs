//! Deciding on a fresh view, and committing on the condition that it still holds.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Body, ConversationId, Member, NewEntry, UserId, Value, requested_id};
use im_core::port::{
    Commit, FirstSeq, MemberChange, MemberOp, Record, RecordKey, Rejected, Standing, View, Write,
};
use im_core::rule::{Action, ActorView, MemberEvent, MemberEventOp, authorize};

use super::rules::Rules;
use super::table::Call;
use crate::appender::{failure, port_failure};
use crate::node::Inner;

/// How often a call decides anew because the members changed meanwhile.
pub(super) const DECIDE_TRIES_MAX: u32 = 8;

/// What a decision is made on: the conversation, the users asked for, and what it has set, read
/// after it.
pub(super) struct Known {
    pub(super) view: View,
    pub(super) rules: Rules,
    caller: UserId,
}

impl Known {
    /// The caller's place.
    pub(super) fn me(&self) -> Option<&Member> {
        self.find(&self.caller)
    }

    /// A user's place, of those asked for.
    pub(super) fn find(&self, user: &UserId) -> Option<&Member> {
        let mut members = self.view.members.iter();
        members.find(|member| member.user == *user)
    }

    /// A user's place, if they are a member now.
    pub(super) fn find_in(&self, user: &UserId) -> Option<&Member> {
        self.find(user).filter(|member| member.is_in())
    }

    /// A write that sets nothing, and moves the version: for what rooms hear of as a change.
    pub(super) const fn touch(&self) -> Write {
        Write::Speaks(self.view.conversation.speaks)
    }
}

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

/// The answer of what has none.
pub(super) const fn nothing() -> Value {
    Value::Object(Vec::new())
}

/// [`change`] of one member, whom the caller may see.
pub(super) async fn change_one<F>(
    call: &Call<'_>,
    conv: &ConversationId,
    user: &UserId,
    decide: F,
) -> Result<Value, Failure>
where
    F: Fn(&Known, &Member) -> Result<Option<Plan>, Failure>,
{
    let users = std::slice::from_ref(user);
    change(call, conv, users, |known| {
        // A stranger must not learn who is in.
        call.may(Action::See, known)?;
        let member = known.find(user);
        let no_member = || Failure::new(ErrorCode::NotFound, "no such member");
        decide(known, member.ok_or_else(no_member)?)
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
    F: Fn(&Known) -> Result<Option<Plan>, Failure>,
{
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(conv, users).await?;
        let Some(plan) = decide(&known)? else {
            // Nothing to change: it is as it was to be.
            return Ok(nothing());
        };
        if let Some(value) = call.carry(&known, plan, nothing()).await? {
            return Ok(value);
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

    /// [`view`](Self::view), and what it has set.
    pub(super) async fn known(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Known, Failure> {
        let view = self.view(conv, users).await?;
        let rules = match view.conversation.kind.has_roles() {
            true => self.inner.rules(conv).await?,
            false => Rules::new(),
        };
        let caller = self.caller.user.clone();
        Ok(Known {
            view,
            rules,
            caller,
        })
    }

    /// May the caller do it?
    pub(super) fn may(&self, action: Action<'_>, known: &Known) -> Result<(), Failure> {
        let now = self.inner.clock.timestamp();
        let actor = ActorView::of(&known.view.conversation, known.me(), now);
        let rights = known.rules.rights;
        authorize(action, ActorView { rights, ..actor })
    }

    /// Commits a plan on the condition that what it was made on still holds; `None` when it does
    /// not.
    pub(super) async fn carry(
        &self,
        known: &Known,
        plan: Plan,
        value: Value,
    ) -> Result<Option<Value>, Failure> {
        let mut writes = vec![self.inner.server_entry(&self.caller.user, plan.body)];
        writes.extend(plan.writes);
        self.carry_on(known, None, writes, value).await
    }

    /// The same of facts alone: the caller's own place must not have changed meanwhile.
    pub(super) async fn carry_facts(
        &self,
        known: &Known,
        writes: Vec<Write>,
        value: Value,
    ) -> Result<Option<Value>, Failure> {
        let actor = Some(self.caller.user.clone());
        self.carry_on(known, actor, writes, value).await
    }

    pub(super) async fn carry_on(
        &self,
        known: &Known,
        actor: Option<UserId>,
        mut writes: Vec<Write>,
        value: Value,
    ) -> Result<Option<Value>, Failure> {
        writes.extend(self.record(&value));
        let commit = Commit {
            conv: known.view.conversation.id.clone(),
            expect_version: Some(known.view.conversation.version),
            actor,
            writes,
        };
        match self.inner.appender.commit(commit).await {
            Ok(_) => Ok(Some(value)),
            Err(Rejected::Conflict) => Ok(None),
            Err(rejected) => self.done_or(rejected).map(Some),
        }
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
