//! From a draft to a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    Body, ConversationId, ConversationKind, Draft, Family, Kind, Mentions, NewEntry, Role, Seq,
    Target, UserId, direct_id,
};
use im_core::port::{
    Appended, Commit, Committed, LogQuery, NewConversation, Rejected, Standing, Verdict, View,
    Write,
};
use im_core::rule::{Action, ActorView, Barrier, authorize, check_body, may_name_blobs};

use super::admin::note_review;
use super::caught::caught;
use super::expiry;
use super::params::bad;
use crate::appender::{busy, failure, port_failure};
use crate::moderation::{Judged, refused_word};
use crate::node::Inner;
use parking_lot::Mutex;

/// How long a sender waits before it tries again when a hook took too long.
const HOOK_RETRY_MS: u64 = 1_000;
/// Locks of conversations kept before those that nobody holds are let go.
const HOOK_LOCKS_SWEEP: usize = 1_000;
/// How often a call decides anew because the members changed meanwhile.
const DECIDE_TRIES_MAX: u32 = 5;

/// A draft that may be stored.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) commit: Commit,
    /// Keeps the conversation's hooks in order until the commit is queued.
    pub(crate) in_order: Option<HooksGuard>,
}

/// See [`Prepared::in_order`].
pub(crate) type HooksGuard = tokio::sync::OwnedMutexGuard<()>;

/// A lock for each conversation that runs hooks now.
#[derive(Debug, Default)]
pub(crate) struct HookLocks {
    locks: Mutex<BTreeMap<ConversationId, Arc<tokio::sync::Mutex<()>>>>,
}

impl HookLocks {
    async fn lock(&self, conv: &ConversationId) -> HooksGuard {
        let lock = {
            let mut locks = self.locks.lock();
            if locks.len() >= HOOK_LOCKS_SWEEP {
                locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(locks.entry(conv.clone()).or_default())
        };
        lock.lock_owned().await
    }
}

/// What was decided about a draft.
#[derive(Debug)]
pub(crate) enum Decided {
    /// Store it.
    Commit(Box<Prepared>),
    /// It is stored already.
    Sent {
        conv: ConversationId,
        appended: Appended,
    },
}

impl Inner {
    /// Decides when everything needed is known; `None` when something must be read first.
    pub(crate) fn prepare_fast(
        &self,
        user: &UserId,
        draft: &Draft,
    ) -> Option<Result<Prepared, Failure>> {
        // Hooks, blobs, stickers and changes of earlier entries always read, and what ends by
        // itself must be found again.
        if self.hooks.is_some()
            || (self.media.is_some() && may_name_blobs(draft.body.kind()))
            || draft.body.kind().family() == Family::Change
            || draft.body.kind() == Kind::Sticker
            || draft.mentions == Mentions::All
            || draft.expires_ms.is_some()
        {
            return None;
        }
        let conv = target_id(user, &draft.to);
        let room = self.rooms.get(&conv)?;
        let state = room.state.lock();
        let (view, version) = state.actor(user, self.clock.now(), self.clock.timestamp())?;
        let now = self.clock.timestamp();
        let allowed = self
            .check_draft(draft)
            .and_then(|()| self.may_speak(user, now))
            .and_then(|()| authorize(Action::Send(draft.body.kind()), view));
        drop(state);
        if let Err(refused) = allowed {
            return Some(Err(refused));
        }
        let body = match self.judge(&draft.body) {
            Judged::Clean => None,
            Judged::Refused => return Some(Err(refused_word("body"))),
            // What somebody must look at is found again by its place.
            Judged::Found { review, .. } if !review.is_empty() => return None,
            Judged::Found { body, .. } => body,
        };
        Some(Ok(Prepared {
            commit: self.append(user, conv, draft, body, Some(version)),
            in_order: None,
        }))
    }

    /// Decides with whatever must be read.
    pub(crate) async fn prepare(&self, user: &UserId, draft: &Draft) -> Result<Decided, Failure> {
        let conv = target_id(user, &draft.to);
        // Hooks run one after the other per conversation, and never for a retry.
        let in_order = match &self.hooks {
            None => None,
            Some(_) => {
                let guard = self.hook_locks.lock(&conv).await;
                if let Some(sent) = self.find_sent(user, &conv, draft).await? {
                    return Ok(sent);
                }
                Some(guard)
            }
        };
        match self.decide(user, &conv, draft).await {
            Ok(commit) => Ok(Decided::Commit(Box::new(Prepared { commit, in_order }))),
            Err(refused) => self.sent_or(user, draft, refused).await,
        }
    }

    /// A draft was refused: that stands, unless it is a retry of what is stored.
    pub(crate) async fn sent_or(
        &self,
        user: &UserId,
        draft: &Draft,
        refused: Failure,
    ) -> Result<Decided, Failure> {
        let conv = target_id(user, &draft.to);
        self.find_sent(user, &conv, draft).await?.ok_or(refused)
    }

    async fn find_sent(
        &self,
        user: &UserId,
        conv: &ConversationId,
        draft: &Draft,
    ) -> Result<Option<Decided>, Failure> {
        let query = LogQuery::Sent {
            sender: user.clone(),
            cm_id: draft.cm_id.clone(),
        };
        let found = self
            .store
            .log(conv, query)
            .await
            .map_err(|error| port_failure(&error))?;
        let Some(entry) = found.into_iter().next() else {
            return Ok(None);
        };
        if entry.digest != draft.digest() {
            return Err(failure(&Rejected::CmIdReused));
        }
        let appended = Appended {
            seq: entry.seq,
            id: entry.id,
            at: entry.at,
            dup: true,
        };
        Ok(Some(Decided::Sent {
            conv: conv.clone(),
            appended,
        }))
    }

    async fn decide(
        &self,
        user: &UserId,
        conv: &ConversationId,
        draft: &Draft,
    ) -> Result<Commit, Failure> {
        self.check_draft(draft)?;
        self.may_speak(user, self.clock.timestamp())?;
        let users = participants(user, &draft.to);
        let view = self.view(conv, &users).await?;
        let Some(view) = view else {
            return self.decide_first(user, conv, draft).await;
        };
        let member = view.members.iter().find(|member| member.user == *user);
        let barrier = self.barrier(&view, user).await?;
        let now = self.clock.timestamp();
        let mut actor = ActorView {
            barrier,
            ..ActorView::of(&view.conversation, member, now)
        };
        let rules = match asks_for_rights(draft) && view.conversation.kind.has_roles() {
            true => Some(self.rules(conv).await?),
            false => None,
        };
        actor.rights = rules.as_ref().map_or(actor.rights, |rules| rules.rights);
        authorize(Action::Send(draft.body.kind()), actor)?;
        if draft.mentions == Mentions::All {
            authorize(Action::MentionAll, actor)?;
        }
        let changed = match draft.body.kind().family() {
            Family::Change => Some(self.target(conv, draft, actor).await?),
            _ => None,
        };
        self.cache(&view, user, barrier);
        self.check_sticker(&draft.body).await?;
        let (body, review) = self.shown_body(user, conv, draft).await?;
        let version = Some(view.conversation.version);
        let mut commit = self.append(user, conv.clone(), draft, body, version);
        let head = view.conversation.head;
        expiry::note(&mut commit, head);
        note_review(&mut commit, head, review);
        if let Some(target) = changed {
            self.mark(&mut commit, target, head).await?;
        }
        // The rights may be others by the time that it is stored.
        commit.writes.extend(rules.map(|rules| rules.same(conv)));
        Ok(commit)
    }

    /// The first message of a direct conversation makes it.
    async fn decide_first(
        &self,
        user: &UserId,
        conv: &ConversationId,
        draft: &Draft,
    ) -> Result<Commit, Failure> {
        let Target::User(other) = &draft.to else {
            return Err(Failure::new(ErrorCode::NotFound, "no such conversation"));
        };
        if draft.body.kind().family() != Family::Say {
            return Err(Failure::new(ErrorCode::NotFound, "no such entry"));
        }
        if self
            .standing(other)
            .await
            .map_err(|error| port_failure(&error))?
            == Standing::Unknown
        {
            return Err(Failure::new(ErrorCode::NotFound, "no such user"));
        }
        self.barrier_between(user, other).await?.check()?;
        self.check_sticker(&draft.body).await?;
        let (body, review) = self.shown_body(user, conv, draft).await?;
        let mut commit = self.append(user, conv.clone(), draft, body, None);
        let members = participants(user, &draft.to);
        let create = NewConversation {
            kind: ConversationKind::Direct,
            title: None,
            hide_history: false,
            members: members
                .into_iter()
                .map(|user| (user, Role::Member))
                .collect(),
        };
        commit.writes.insert(0, Write::Create(create));
        expiry::note(&mut commit, Seq(0));
        note_review(&mut commit, Seq(0), review);
        Ok(commit)
    }

    /// What any draft must keep to, whoever sends it.
    pub(super) fn check_draft(&self, draft: &Draft) -> Result<(), Failure> {
        if draft.expires_ms.is_some() && draft.body.kind().family() == Family::Change {
            return Err(bad("expires_ms", "a change has no end of its own"));
        }
        check_body(&draft.body, &self.settings.limits)?;
        self.custom.check(&draft.body)
    }

    /// Another body than the draft's, if there is to be one, and the words for which somebody must
    /// look at it. The hooks come first: the words are looked for in what is stored. The server's
    /// word on blobs comes last.
    async fn shown_body(
        &self,
        user: &UserId,
        conv: &ConversationId,
        draft: &Draft,
    ) -> Result<(Option<Body>, Vec<String>), Failure> {
        let hooked = self.run_hooks(user, conv, draft).await?;
        let (body, review) = match self.judge(hooked.as_ref().unwrap_or(&draft.body)) {
            Judged::Clean => (hooked, Vec::new()),
            Judged::Refused => return Err(refused_word("body")),
            Judged::Found { body, review } => (body.or(hooked), review),
        };
        let body = body.unwrap_or_else(|| draft.body.clone());
        let now = self.clock.timestamp();
        let body = self.attach(user, conv, &draft.cm_id, body, now).await?;
        Ok((Some(body), review))
    }

    async fn run_hooks(
        &self,
        user: &UserId,
        conv: &ConversationId,
        draft: &Draft,
    ) -> Result<Option<Body>, Failure> {
        let Some(hooks) = &self.hooks else {
            return Ok(None);
        };
        let deadline = self.settings.hook_deadline;
        let verdict = caught(hooks.before_send(user, conv, draft));
        match tokio::time::timeout(deadline, verdict).await {
            Ok(Some(Verdict::Accept)) => Ok(None),
            Ok(Some(Verdict::Rewrite(body))) if body.kind() == draft.body.kind() => Ok(Some(body)),
            Ok(Some(Verdict::Rewrite(_))) => {
                tracing::error!("a hook may not change the kind of a body");
                Err(Failure::new(ErrorCode::Rejected, "refused"))
            }
            Ok(Some(Verdict::Reject(why))) => Err(Failure::new(ErrorCode::Rejected, why)),
            Ok(None) => {
                tracing::error!("a hook panicked");
                Err(Failure::new(ErrorCode::Internal, "an internal error"))
            }
            Err(_) => Err(Failure::retry(
                ErrorCode::Unavailable,
                "a hook took too long",
                HOOK_RETRY_MS,
            )),
        }
    }

    /// The commit that appends a draft, with another body if a hook gave one.
    fn append(
        &self,
        user: &UserId,
        conv: ConversationId,
        draft: &Draft,
        body: Option<Body>,
        version: Option<Seq>,
    ) -> Commit {
        let at = self.clock.timestamp();
        let entry = NewEntry {
            id: self.ids.next(),
            from: user.clone(),
            at,
            cm_id: Some(draft.cm_id.clone()),
            digest: draft.digest(),
            body: body.unwrap_or_else(|| draft.body.clone()),
            reply_to: draft.reply_to,
            mentions: draft.mentions.clone(),
            expires_at: draft.expires_ms.map(|ms| at.plus_ms(ms)),
        };
        Commit {
            conv,
            expect_version: version,
            actor: Some(user.clone()),
            writes: vec![Write::Append(entry)],
        }
    }

    /// Lets the fast path decide the next time.
    fn cache(&self, view: &View, user: &UserId, barrier: Barrier) {
        let Some(room) = self.rooms.get(&view.conversation.id) else {
            return;
        };
        let mut state = room.state.lock();
        if view.conversation.kind == ConversationKind::Direct {
            state.set_barrier(Some(barrier), self.clock.now());
        }
        let fresh = state.version() == Some(view.conversation.version);
        if fresh && state.machine.get(user).is_some() {
            for member in view.members.iter().filter(|member| member.user == *user) {
                state.place(member.clone());
            }
        }
    }

    /// A conversation and some of its members, or a failure as the client gets it.
    pub(crate) async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, Failure> {
        self.store
            .view(conv, users)
            .await
            .map_err(|error| port_failure(&error))
    }

    /// Stores a draft for a caller without a connection, and waits.
    pub(crate) async fn send_and_wait(
        &self,
        user: &UserId,
        draft: &Draft,
    ) -> Result<(ConversationId, Appended), Failure> {
        let conv = target_id(user, &draft.to);
        if let Err(wait) = self.hub.take_token(user, self.clock.now()) {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            let refused = Failure::retry(ErrorCode::RateLimited, "too many messages", ms);
            return match self.sent_or(user, draft, refused).await? {
                Decided::Sent { conv, appended } => Ok((conv, appended)),
                Decided::Commit(_) => Err(busy()),
            };
        }
        for _ in 0..DECIDE_TRIES_MAX {
            match self.prepare(user, draft).await? {
                Decided::Sent { conv, appended } => {
                    self.hub.give_token(user);
                    return Ok((conv, appended));
                }
                Decided::Commit(prepared) => {
                    metrics::counter!("im_sends_total").increment(1);
                    match self.appender.commit(prepared.commit).await {
                        Ok(Committed { appended, .. }) => {
                            let first = appended.first().copied();
                            return first.map(|appended| (conv, appended)).ok_or_else(busy);
                        }
                        Err(Rejected::Conflict) => {}
                        Err(rejected) => return Err(failure(&rejected)),
                    }
                }
            }
        }
        Err(failure(&Rejected::Conflict))
    }
}

/// Whether a conversation may have set who may send such.
fn asks_for_rights(draft: &Draft) -> bool {
    draft.body.kind() == Kind::Pin || draft.mentions == Mentions::All
}

/// The conversation of a target.
pub(crate) fn target_id(user: &UserId, to: &Target) -> ConversationId {
    match to {
        Target::User(other) => direct_id(user, other),
        Target::Conversation(conv) => conv.clone(),
    }
}

/// The sender, and the other user if the target names one.
fn participants(user: &UserId, to: &Target) -> Vec<UserId> {
    let mut users = vec![user.clone()];
    if let Target::User(other) = to
        && other != user
    {
        users.push(other.clone());
    }
    users
}
