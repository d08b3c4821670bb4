//! The store.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::future::join_all;
use im_core::model::{ConversationId, Entry, Fact, Member, Slot, Stamps, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, FactQuery, LogQuery, MembershipPage, PortError, PortErrorKind,
    RecordKey, Rejected, Store, View, Write,
};

use crate::map::Map;
use crate::merge::{Part, merge, share};
use crate::route::{Patience, Route, moving};
use crate::{Sharded, counts};

type Answer = Result<Committed, Rejected>;

/// Asks whoever has a slot, until it is sure that they had it when they answered.
macro_rules! ask {
    ($self:ident, $slot:expr, $shard:ident => $call:expr) => {{
        let mut route = Route::new($self, $slot);
        loop {
            let $shard = route.shard().await?;
            let answer = $call.await?;
            if route.holds().await? {
                return Ok(answer);
            }
        }
    }};
}

#[async_trait]
impl Store for Sharded {
    async fn commit(&self, batch: &[Commit]) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = batch.iter().map(|_| None).collect();
        let mut patience = Patience::new();
        loop {
            self.round(batch, &mut answers).await;
            if answers.iter().all(Option::is_some) {
                break;
            }
            // In the last part of a move, or somewhere else than it was thought to be.
            let _ = self.refresh().await;
            if self.is_stuck(batch, &answers) || !patience.wait().await {
                break;
            }
        }
        self.note_stuck(batch, &answers);
        let late = || Err(Rejected::Store(moving()));
        let answers = answers.into_iter();
        answers.map(|answer| answer.unwrap_or_else(late)).collect()
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        ask!(self, Slot::of(conv), shard => shard.view(conv, users))
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        ask!(self, Slot::of(conv), shard => shard.members(conv, after, limit))
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        ask!(self, Slot::of(conv), shard => shard.log(conv, query.clone()))
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let mut patience = Patience::new();
        loop {
            let map = self.map();
            let share = share(limit, self.shards.len());
            let from: Vec<_> = (0..self.shards.len()).map(|at| one(since, at)).collect();
            let asked = self.shards.iter().zip(&from);
            let asked = asked.map(|(shard, from)| shard.memberships(user, from, share, detail));
            let pages = all_of(asked).await?;
            // Also of a map that lacks a slot: nobody else may be there to look again.
            let is_same = self.refresh().await?.is_same_as(&map);
            if is_same && map.orphan().is_none() {
                return Ok(joined(&map, since, pages, limit));
            }
            if !patience.wait().await {
                return Err(moving());
            }
        }
    }

    /// A database that is away stays where it was, and the others go on; with `limit` 0 all must
    /// answer. What a move left behind may be named as well: it has changed no further.
    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        let share = share(limit, self.shards.len());
        let from: Vec<_> = (0..self.shards.len()).map(|at| one(since, at)).collect();
        let asked = self.shards.iter().zip(&from);
        let asked = asked.map(|(shard, from)| shard.changed(from, share));
        let mut pages = Vec::with_capacity(self.shards.len());
        let mut failed = None;
        for answer in join_all(asked).await {
            counts::note(pages.len(), &answer);
            match answer {
                Ok(page) => pages.push(Some(page)),
                Err(error) => {
                    tracing::warn!(at = pages.len(), %error, "a shard is away");
                    pages.push(None);
                    failed = Some(error);
                }
            }
        }
        if let Some(error) = failed
            && (limit == 0 || pages.iter().all(Option::is_none))
        {
            return Err(error);
        }
        let part = |page: &Changed| part(page.convs.len(), &page.stamps, page.more);
        let parts: Vec<_> = pages.iter().map(|page| page.as_ref().map(part)).collect();
        let merged = merge(since, &parts, limit);
        let mut changed = Changed {
            convs: Vec::new(),
            left: Vec::new(),
            stamps: merged.stamps,
            more: merged.more,
        };
        let taken = pages.into_iter().zip(merged.takes);
        for page in taken.filter_map(|(page, takes)| page.filter(|_| takes)) {
            changed.convs.extend(page.convs);
            changed.left.extend(page.left);
        }
        Ok(changed)
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        if let RecordKey::Block { user, other } = key {
            ask!(self, Slot::of_block(user, other), shard => shard.record(key, now))
        }
        // It moves with its conversation, which the key does not name. It is never changed.
        let all: Vec<_> = (0..self.shards.len()).collect();
        let mut patience = Patience::new();
        loop {
            let map = self.map();
            let found = self.look_for(key, now, &all).await?;
            // Not found counts if it can't have moved past the look.
            if found.is_some() || self.refresh().await?.is_same_as(&map) {
                return Ok(found);
            }
            if !patience.wait().await {
                return Err(moving());
            }
        }
    }

    /// What two users have about each other is with the two, so a user's list is in all databases.
    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        if let Some(conv) = query.place() {
            ask!(self, Slot::of(&conv), shard => shard.facts(query))
        }
        let mut patience = Patience::new();
        let mut query = query.clone();
        let limit = query.limit();
        loop {
            let map = self.map();
            let asked = self.shards.iter().map(|shard| shard.facts(&query));
            let pages = all_of(asked).await?;
            let is_same = self.refresh().await?.is_same_as(&map);
            if is_same && map.orphan().is_none() {
                let Some(mut all) = joined_facts(&map, pages, &query) else {
                    query = query.limited(query.limit().saturating_mul(2));
                    continue;
                };
                all.truncate(limit);
                return Ok(all);
            }
            if !patience.wait().await {
                return Err(moving());
            }
        }
    }
}

impl Sharded {
    /// Gives every commit that has no answer to the database that has its slot, all databases side
    /// by side. Those whose slot is elsewhere, or closed, stay without an answer.
    async fn round(&self, batch: &[Commit], answers: &mut [Option<Answer>]) {
        let parts = self.parts(batch, answers);
        let asked = parts.into_iter().map(|(at, places)| async move {
            let commits = places.iter().map(|place| &batch[*place]);
            let given = self.give(at, commits).await;
            counts::note_answers(at, &given);
            (given, places)
        });
        for (given, places) in join_all(asked).await {
            for (answer, place) in given.into_iter().zip(places) {
                let is_elsewhere = matches!(
                    &answer,
                    Err(Rejected::Store(error)) if error.kind() == PortErrorKind::Moved
                );
                if !is_elsewhere {
                    answers[place] = Some(answer);
                }
            }
        }
    }

    /// What goes to which database, in the order of the batch.
    fn parts(&self, batch: &[Commit], answers: &[Option<Answer>]) -> BTreeMap<usize, Vec<usize>> {
        let map = self.map();
        let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut keys = BTreeMap::new();
        let mut waits = BTreeSet::new();
        for (place, commit) in batch.iter().enumerate() {
            let slot = Slot::of(&commit.conv);
            let owner = map.owner(slot).filter(crate::map::Owner::is_open);
            let (None, Some(owner)) = (&answers[place], owner) else {
                continue;
            };
            // One request to two databases at once would be done twice: the later one waits, and
            // with it what comes after it to the same conversation.
            let elsewhere = |key| *keys.entry(key).or_insert(owner.at) != owner.at;
            if answer_keys(commit).any(elsewhere) || waits.contains(&slot) {
                waits.insert(slot);
                continue;
            }
            parts.entry(owner.at).or_default().push(place);
        }
        parts
    }

    /// Commits to one database, but for requests that another one has the answer of.
    async fn give<'a>(
        &self,
        at: usize,
        commits: impl Iterator<Item = &'a Commit> + Send,
    ) -> Vec<Answer> {
        let (mut fresh, mut done) = (Vec::new(), Vec::new());
        for commit in commits {
            let before = self.done_elsewhere(at, commit).await;
            if before.is_none() {
                fresh.push(commit.clone());
            }
            done.push(before);
        }
        let answers = if fresh.is_empty() {
            Vec::new()
        } else {
            self.shards[at].commit(&fresh).await
        };
        let mut answers = answers.into_iter();
        let none = || Err(PortError::new(PortErrorKind::Internal).into());
        done.into_iter()
            .map(|before| before.map_or_else(|| answers.next().unwrap_or_else(none), Err))
            .collect()
    }

    /// Whether another database has a record that this commit would keep.
    async fn done_elsewhere(&self, at: usize, commit: &Commit) -> Option<Rejected> {
        let others: Vec<_> = (0..self.shards.len())
            .filter(|other| *other != at)
            .collect();
        for key in answer_keys(commit) {
            match self.look_for(key, self.now(), &others).await {
                Ok(None) => {}
                Ok(Some(value)) => return Some(Rejected::Done(value)),
                Err(error) => return Some(error.into()),
            }
        }
        None
    }

    /// A record in some of the databases.
    async fn look_for(
        &self,
        key: &RecordKey,
        now: Timestamp,
        among: &[usize],
    ) -> Result<Option<String>, PortError> {
        let asked = among.iter().map(|at| self.shards[*at].record(key, now));
        let mut answers = join_all(asked).await;
        let found = answers
            .iter()
            .position(|answer| matches!(answer, Ok(Some(_))));
        if let Some(found) = found {
            return answers.swap_remove(found);
        }
        answers.into_iter().find(Result::is_err).unwrap_or(Ok(None))
    }

    /// Whether nothing is left but what waits for slots that stay closed.
    fn is_stuck(&self, batch: &[Commit], answers: &[Option<Answer>]) -> bool {
        let (map, stuck) = (self.map(), self.stuck.lock());
        unanswered(batch, answers).all(|slot| {
            let owner = map.owner(slot);
            let closed = owner.filter(|owner| !owner.is_open());
            closed.is_some_and(|owner| stuck.get(&slot) == Some(&owner.held.epoch))
        })
    }

    fn note_stuck(&self, batch: &[Commit], answers: &[Option<Answer>]) {
        for slot in unanswered(batch, answers) {
            if let Some(owner) = self.map().owner(slot) {
                self.stuck.lock().insert(slot, owner.held.epoch);
            }
        }
    }
}

/// The slots of the commits without an answer.
fn unanswered(batch: &[Commit], answers: &[Option<Answer>]) -> impl Iterator<Item = Slot> {
    let left = batch.iter().zip(answers);
    let left = left.filter(|(_, answer)| answer.is_none());
    left.map(|(commit, _)| Slot::of(&commit.conv))
}

/// The keys of the answers that a commit keeps.
fn answer_keys(commit: &Commit) -> impl Iterator<Item = &RecordKey> {
    commit.writes.iter().filter_map(|write| match write {
        Write::Record(record) if matches!(record.key, RecordKey::Answer { .. }) => {
            Some(&record.key)
        }
        _ => None,
    })
}

/// The stamps of one database alone.
fn one(since: &Stamps, at: usize) -> Stamps {
    Stamps::one(since.of(at))
}

fn part(lines: usize, stamps: &Stamps, more: bool) -> Part {
    Part {
        lines,
        stamp: stamps.of(0),
        more,
    }
}

/// A list of what each database gave of the slots that it has.
fn joined(
    map: &Map,
    since: &Stamps,
    mut pages: Vec<MembershipPage>,
    limit: usize,
) -> MembershipPage {
    for (at, page) in pages.iter_mut().enumerate() {
        let is_here = |slot| map.owner(slot).is_some_and(|owner| owner.at == at);
        page.lines
            .retain(|line| is_here(Slot::of(&line.conversation.id)));
    }
    let parts = pages.iter();
    let parts: Vec<_> = parts
        .map(|page| Some(part(page.lines.len(), &page.stamps, page.more)))
        .collect();
    let merged = merge(since, &parts, limit);
    let taken = pages.into_iter().zip(merged.takes);
    let lines = taken.filter(|(_, takes)| *takes);
    MembershipPage {
        lines: lines.flat_map(|(page, _)| page.lines).collect(),
        stamps: merged.stamps,
        more: merged.more,
    }
}

/// What every database gave, or the first failure.
pub(crate) async fn all_of<T>(
    asked: impl Iterator<Item = impl Future<Output = Result<T, PortError>>>,
) -> Result<Vec<T>, PortError> {
    let pages = join_all(asked).await.into_iter().enumerate();
    let noted = pages.map(|(at, page)| {
        counts::note(at, &page);
        page
    });
    noted.collect()
}

/// In order, what each database gave of the slots that it has. `None`: what a move left in one has
/// taken the place of what is to be given.
fn joined_facts(map: &Map, pages: Vec<Vec<Fact>>, query: &FactQuery) -> Option<Vec<Fact>> {
    let mut all = Vec::new();
    for (at, page) in pages.into_iter().enumerate() {
        let is_here = |fact: &Fact| {
            let owner = fact.key.slot().and_then(|slot| map.owner(slot));
            owner.is_some_and(|owner| owner.at == at)
        };
        let is_full = page.len() >= query.limit();
        let before = all.len() + page.len();
        all.extend(page.into_iter().filter(is_here));
        if is_full && all.len() < before {
            return None;
        }
    }
    match query {
        FactQuery::Due { .. } => {
            all.sort_by(|one, other| (one.at, &one.key).cmp(&(other.at, &other.key)));
        }
        _ => all.sort_by(|one, other| one.key.cmp(&other.key)),
    }
    Some(all)
}
