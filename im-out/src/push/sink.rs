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
    Conversation, Entry, FactKey, FactTable, Family, Member, Mentions, PushTarget, UserId, Value,
};
use im_core::port::{
    Clock, Directory, FactQuery, PortError, Push, PushNote, Registry, Standing, Store,
};
use ring::digest::{SHA256, digest};

use super::round::{Due, Rounds};
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

/// The sink that pushes: the newest message of a conversation, to its members who are in good
/// standing, are not connected, have not read it and have not muted the conversation.
#[derive(Debug)]
pub struct Pusher {
    store: Arc<dyn Store>,
    registry: Arc<dyn Registry>,
    users: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    ways: BTreeMap<String, Arc<dyn Push>>,
    settings: PushSettings,
    rounds: Rounds,
}

impl Pusher {
    /// A pusher that has no way to push yet. `users` says who may be told anything: a node is one
    /// that knows whom the staff has banned.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        registry: Arc<dyn Registry>,
        users: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        settings: PushSettings,
    ) -> Self {
        Self {
            rounds: Rounds::new(Arc::clone(&store), Arc::clone(&clock)),
            store,
            registry,
            users,
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
        let until = mute.and_then(|fact| fact.value.trim().parse::<i64>().ok());
        if until.is_some_and(|until| until == 0 || until > self.clock.timestamp().0) {
            return Ok(());
        }
        // Who is shut out is told nothing, though their devices are still subscribed.
        let standing = self.users.standing(std::slice::from_ref(user)).await?;
        if standing.first() != Some(&Standing::Active) {
            return Ok(());
        }
        let due = targets.into_iter().filter_map(|fact| {
            let target = PushTarget::read(&fact.value)?;
            let way = Arc::clone(self.ways.get(&target.kind)?);
            let note = self.note(entry, conversation, user, target.text);
            Some(Due {
                fact,
                target,
                way,
                note,
            })
        });
        self.rounds.push(due.collect()).await;
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
