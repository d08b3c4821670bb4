//! Who is pushed to, and what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use futures_util::StreamExt as _;
use futures_util::stream;
use im_core::model::{
    Conversation, Entry, Fact, FactKey, FactTable, Family, Member, Mentions, PushTarget, UserId,
    Value,
};
use im_core::port::{
    Clock, Commit, FactQuery, PortError, Push, PushError, PushNote, Put, Registry, Store, Was,
    Write,
};
use ring::digest::{SHA256, digest};

use crate::follow::{Failed, Sink, Taken};

/// Members asked for at once.
const PAGE: usize = 200;
/// In a conversation of more members only those are pushed to who are mentioned by name.
const MEMBERS_MAX: u32 = 1_000;
/// Users pushed to side by side.
const CONCURRENCY: usize = 8;
/// The longest part of a text in a push, in characters.
const TEXT_CHARS: usize = 200;
/// Subscriptions of one user that are read; they may not have more.
const TARGETS_MAX: usize = 20;
/// How long to wait before a push that failed is tried once more.
const AGAIN: Duration = Duration::from_secs(1);

/// Settings of pushes.
#[derive(Debug, Clone, Copy)]
pub struct PushSettings {
    /// How long a push service keeps a push for a device that is away. What was said longer ago is
    /// pushed to nobody.
    pub ttl: Duration,
    /// Whether a push may hold text, for those who did not ask for none.
    pub text: bool,
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(24 * 3_600),
            text: true,
        }
    }
}

/// The sink that pushes: the newest message of a conversation, to its members who are not
/// connected, have not read it and have not muted the conversation.
#[derive(Debug)]
pub struct Pusher {
    store: Arc<dyn Store>,
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    ways: BTreeMap<String, Arc<dyn Push>>,
    settings: PushSettings,
}

impl Pusher {
    /// A pusher that has no way to push yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        registry: Arc<dyn Registry>,
        clock: Arc<dyn Clock>,
        settings: PushSettings,
    ) -> Self {
        Self {
            store,
            registry,
            clock,
            ways: BTreeMap::new(),
            settings,
        }
    }

    /// A way to push, for subscriptions of that kind: `web`, or the embedder's own.
    #[must_use]
    pub fn way(mut self, kind: &str, push: Arc<dyn Push>) -> Self {
        self.ways.insert(kind.to_owned(), push);
        self
    }

    fn is_fresh(&self, entry: &Entry) -> bool {
        let now = self.clock.timestamp();
        let ttl = u64::try_from(self.settings.ttl.as_millis()).unwrap_or(u64::MAX);
        let ended = entry.expires_at.is_some_and(|at| at <= now);
        entry.body.kind().family() == Family::Say && entry.at.plus_ms(ttl) > now && !ended
    }

    async fn tell(&self, entry: &Entry) -> Result<(), PortError> {
        let named: &[UserId] = match &entry.mentions {
            Mentions::Users(users) => users,
            _ => &[],
        };
        let Some(view) = self.store.view(&entry.conv, named).await? else {
            return Ok(());
        };
        let conversation = view.conversation;
        if conversation.member_count > MEMBERS_MAX {
            return self.tell_members(entry, &conversation, view.members).await;
        }
        let mut after: Option<UserId> = None;
        loop {
            let page = self
                .store
                .members(&entry.conv, after.as_ref(), PAGE)
                .await?;
            let more = page.len() == PAGE;
            after = page.last().map(|member| member.user.clone());
            self.tell_members(entry, &conversation, page).await?;
            if !more {
                return Ok(());
            }
        }
    }

    async fn tell_members(
        &self,
        entry: &Entry,
        conversation: &Conversation,
        members: Vec<Member>,
    ) -> Result<(), PortError> {
        let users: Vec<_> = members
            .into_iter()
            .filter(|member| {
                let sees = member.is_in() && member.first_seq <= entry.seq;
                sees && member.read < entry.seq && member.user != entry.from
            })
            .map(|member| member.user)
            .collect();
        let routes = self.registry.find(&users).await?;
        let here: BTreeSet<_> = routes.into_iter().map(|route| route.user).collect();
        let away = users.into_iter().filter(|user| !here.contains(user));
        let mut told = stream::iter(away)
            .map(|user| async move { self.tell_user(entry, conversation, &user).await })
            .buffer_unordered(CONCURRENCY);
        while let Some(told) = told.next().await {
            told?;
        }
        Ok(())
    }

    async fn tell_user(
        &self,
        entry: &Entry,
        conversation: &Conversation,
        user: &UserId,
    ) -> Result<(), PortError> {
        let query = FactQuery::Of {
            table: FactTable::PushTarget,
            owner: user.as_str().to_owned(),
            after: None,
            below: None,
            limit: TARGETS_MAX,
        };
        let targets = self.store.facts(&query).await?;
        if targets.is_empty() {
            return Ok(());
        }
        let mute = FactKey::new(FactTable::PushMute, user.as_str(), entry.conv.as_str());
        let mute = self.store.facts(&FactQuery::One(mute)).await?.pop();
        // 0: for ever.
        let until = mute.and_then(|fact| fact.value.parse::<i64>().ok());
        if until.is_some_and(|until| until == 0 || until > self.clock.timestamp().0) {
            return Ok(());
        }
        for fact in &targets {
            let Some(target) = PushTarget::read(&fact.value) else {
                continue;
            };
            let Some(way) = self.ways.get(&target.kind) else {
                continue;
            };
            let note = self.note(entry, conversation, user, target.text);
            if push(&**way, &target, &note).await == Err(PushError::Gone) {
                self.forget(fact).await?;
            }
        }
        Ok(())
    }

    fn note(
        &self,
        entry: &Entry,
        conversation: &Conversation,
        user: &UserId,
        text: bool,
    ) -> PushNote {
        let topic = digest(&SHA256, entry.conv.as_str().as_bytes());
        let mentioned = match &entry.mentions {
            Mentions::None => false,
            Mentions::All => true,
            Mentions::Users(users) => users.contains(user),
        };
        let mut fields = vec![
            ("conv", Value::from(entry.conv.as_str())),
            ("seq", entry.seq.0.into()),
            ("kind", entry.body.kind().as_str().into()),
        ];
        if text && self.settings.text {
            fields.push(("from", entry.from.as_str().into()));
            let short = |text: &str| text.chars().take(TEXT_CHARS).collect::<String>();
            let title = conversation.title.as_deref().map(short);
            fields.extend(title.map(|title| ("title", title.into())));
            let said = entry.body.as_text().as_deref().map(short);
            fields.extend(said.map(|said| ("text", said.into())));
        }
        PushNote {
            topic: BASE64.encode(&topic.as_ref()[..24]),
            payload: Value::object(fields).to_json(),
            ttl: self.settings.ttl,
            is_urgent: mentioned || conversation.member_count <= 2,
        }
    }

    /// A subscription is no more: it is removed, if it is the same still.
    async fn forget(&self, fact: &Fact) -> Result<(), PortError> {
        let Some(conv) = fact.key.place() else {
            return Ok(());
        };
        let put = Put {
            key: fact.key.clone(),
            to: None,
            was: Was::Value(fact.value.clone()),
        };
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes: vec![Write::Put(put)],
        };
        // Whether another one was there is as good; a failure shows the next time.
        let _ = self.store.commit(&[commit]).await;
        Ok(())
    }
}

/// Pushes, and once more if that may help.
async fn push(way: &dyn Push, target: &PushTarget, note: &PushNote) -> Result<(), PushError> {
    metrics::counter!("im_pushes_total").increment(1);
    let mut pushed = way.push(target, note).await;
    if pushed == Err(PushError::Later) {
        tokio::time::sleep(AGAIN).await;
        pushed = way.push(target, note).await;
    }
    if let Err(error) = pushed {
        metrics::counter!("im_push_failures_total").increment(1);
        tracing::debug!(%error, "not pushed");
    }
    pushed
}

#[async_trait]
impl Sink for Pusher {
    async fn take(&self, run: &[Entry]) -> Taken {
        // One push a conversation: a later one takes the place of the one before it anyway.
        let newest = run.iter().rev().find(|entry| self.is_fresh(entry));
        let told = match newest {
            None => Ok(()),
            Some(entry) => self.tell(entry).await,
        };
        match told {
            Ok(()) => Taken::all(run),
            Err(error) => Taken {
                count: 0,
                failed: Some(Failed {
                    why: error.to_string(),
                    after: None,
                    refused: false,
                }),
            },
        }
    }
}
