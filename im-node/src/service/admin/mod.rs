//! What the host program's staff does. Each act asks for a power of the roles that the token gave,
//! and stands in the audit log: in the same commit as what it does where that lies with everybody's
//! facts, else before it is done.

mod audit;
mod groups;
mod keys;
mod messages;
mod packs;
mod reports;
mod review;
mod statistics;
mod users;
mod words;

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Body, ConversationId, ConversationKind, Kind, UserId, Value, everyone};
use im_core::port::{Commit, NewConversation, Put, View, Was, Write};
use im_core::rule::{Power, Staff, staff_may};

use super::facts::set;
use super::params::{Params, bad, checked_text};
use super::table::Call;
use crate::appender::failure;
use crate::moderation::{List, standing_key};
use crate::node::Inner;

pub(super) use self::review::note_review;

/// The methods of each part.
pub(super) use self::{
    audit::list as audit_list,
    groups::{close, get as group, list as groups, members, mute as mute_member, remove},
    keys::{add as add_key, list as keys, revoke as revoke_key},
    messages::{export, list as messages, recall, unmask},
    packs::{put as set_pack, remove as remove_pack},
    reports::{list as reports, resolve},
    review::{decide, list as review},
    statistics::statistics,
    users::{ban, banned, get as user, kick, mute, unban},
    words::{
        add as add_words, export as export_words, import as import_words, list as words,
        remove as remove_words, try_text as try_words,
    },
};

/// Characters of a reason.
const WHY_CHARS_MAX: usize = 500;
/// How long it is remembered that somebody's token gave them roles, and how much of that may pass
/// before it is written again: 30 days and one.
const STAFF_MS: u64 = 30 * DAY_MS;
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// An act, as the audit log tells it: who and when stand in the entry itself.
#[derive(Debug, Clone)]
pub(super) struct Act {
    fields: Vec<(&'static str, Value)>,
}

impl Act {
    /// An act of that name.
    pub(super) fn new(op: &'static str) -> Self {
        Self {
            fields: vec![("op", op.into())],
        }
    }

    /// What it is done to, or more about it.
    pub(super) fn with(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((field, value.into()));
        self
    }

    pub(super) fn user(self, user: &UserId) -> Self {
        self.with("user", user.as_str().to_owned())
    }

    pub(super) fn conv(self, conv: &ConversationId) -> Self {
        self.with("conv", conv.as_str().to_owned())
    }

    fn body(&self) -> Body {
        Body::of(Kind::Audit, self.fields.iter().cloned())
    }
}

/// Why: for what can't be undone, or is done to somebody, it must be said.
fn why(params: &mut Params) -> Result<String, Failure> {
    opt_why(params)?.ok_or_else(|| bad("why", "is missing"))
}

fn opt_why(params: &mut Params) -> Result<Option<String>, Failure> {
    checked_text(params, "why", WHY_CHARS_MAX)
}

/// A count of lines to give, within bounds.
fn limit(params: &mut Params, default: usize, most: usize) -> Result<usize, Failure> {
    let given = params.opt_count("limit")?;
    let given = given.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    Ok(given.unwrap_or(default).clamp(1, most))
}

impl Call<'_> {
    /// Refuses who has not the roles for it.
    pub(super) async fn staff(&self, power: Power) -> Result<(), Failure> {
        staff_may(self.caller.staff, power)?;
        let Self { inner, caller, .. } = self;
        inner.note_staff(&caller.user, caller.staff).await;
        Ok(())
    }

    /// Does what lies with everybody's facts, and says so, in one commit.
    async fn act(&self, act: &Act, writes: Vec<Write>, value: Value) -> Result<Value, Failure> {
        let mut all = self.inner.audited(&self.caller.user, act);
        all.extend(writes);
        self.commit(everyone(), all, value).await
    }

    /// Says what is done elsewhere, before it is: so nothing is done unsaid. If it fails, that is
    /// said too.
    async fn acting<T>(
        &self,
        act: Act,
        done: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, Failure> {
        self.note(&act).await?;
        let done = done.await;
        if let Err(refused) = &done {
            let failed = act.with("failed", refused.code.as_str());
            if let Err(error) = self.note(&failed).await {
                tracing::warn!(%error, "the audit log was not told that an act failed");
            }
        }
        done
    }

    async fn note(&self, act: &Act) -> Result<(), Failure> {
        let commit = Commit {
            conv: everyone(),
            expect_version: None,
            actor: None,
            writes: self.inner.audited(&self.caller.user, act),
        };
        let done = self.inner.appender.commit(commit).await;
        done.map(drop).map_err(|rejected| failure(&rejected))
    }

    /// A conversation that the staff looks at, whoever is in it; not the audit log.
    async fn staff_view(&self, conv: &ConversationId) -> Result<View, Failure> {
        let view = self.inner.view(conv, &[]).await?;
        let view = view.filter(|view| view.conversation.kind != ConversationKind::Audit);
        view.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such conversation"))
    }
}

/// Refuses what has no members to act on.
fn is_joined(view: &View) -> Result<(), Failure> {
    match view.conversation.kind {
        ConversationKind::Group | ConversationKind::Channel => Ok(()),
        ConversationKind::Audit => Err(Failure::new(ErrorCode::NotFound, "no such conversation")),
        ConversationKind::Direct | ConversationKind::Desk => {
            let words = "only groups and channels";
            Err(Failure::new(ErrorCode::Forbidden, words))
        }
    }
}

impl Inner {
    /// What puts an act into the audit log.
    fn audited(&self, user: &UserId, act: &Act) -> Vec<Write> {
        let create = NewConversation {
            kind: ConversationKind::Audit,
            title: None,
            hide_history: false,
            members: Vec::new(),
        };
        vec![Write::Create(create), self.server_entry(user, act.body())]
    }

    /// What makes every node read a list anew.
    fn another_version(&self, list: List) -> Write {
        set(
            list.version_key(),
            Value::from(self.ids.next().to_string()).to_json(),
        )
    }

    /// Keeps that a token gave a user roles, so that who is no admin can't act on them. A token
    /// with fewer roles takes nothing away: the same user may have both.
    pub(crate) async fn note_staff(&self, user: &UserId, staff: Staff) {
        let now = self.clock.timestamp();
        let known = self.moderation.standings().staff(user, now);
        // What is older is written anew, without the roles that no token of theirs has any more.
        let fresh = known.filter(|(_, until)| *until > now.plus_ms(STAFF_MS - DAY_MS));
        let of = fresh.map_or(Staff::NONE, |(of, _)| of);
        let all = Staff::from_bits(of.bits() | staff.bits());
        if all == of {
            return;
        }
        let roles: Vec<Value> = all.names().map(Value::from).collect();
        let value = Value::object([("roles", Value::from(roles))]).to_json();
        let put = Put {
            key: standing_key("staff", user),
            to: Some((value, Some(now.plus_ms(STAFF_MS)))),
            was: Was::Any,
        };
        let commit = Commit {
            conv: everyone(),
            expect_version: None,
            actor: None,
            writes: vec![Write::Put(put), self.another_version(List::Standings)],
        };
        match self.appender.commit(commit).await {
            Ok(_) => self.standings_changed().await,
            Err(error) => tracing::warn!(%error, "somebody's roles are not remembered"),
        }
    }

    /// This node knows of its own change at once.
    async fn standings_changed(&self) {
        self.list_changed(List::Standings);
        if let Err(error) = self.load_standings().await {
            tracing::warn!(%error, "a change of standings is read later");
        }
    }
}
