//! The hot tier in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use async_trait::async_trait;
use im_core::model::{CmId, ConversationId, Entry, Holder, NewEntry, Seq, UserId};
use im_core::port::{
    CursorMove, Hot, HotAnswer, HotCommit, HotView, Lag, LogQuery, Pending, PortError, Run, Settle,
    Warming, Which,
};
use im_core::rule::commit::{Stored, cursor_goal};
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::log::take;

/// How long a worker's lease holds.
const LEASE: Duration = Duration::from_millis(300);

/// A [`Hot`] in memory, as other tiers are to be: one lane, and nothing kept after it is dropped.
#[derive(Debug)]
pub struct MemoryHot {
    started: Instant,
    keep: usize,
    backlog_max: u64,
    state: Mutex<State>,
}

/// What a [`MemoryHot`] has at one moment.
#[derive(Debug)]
pub struct Kept(BTreeMap<ConversationId, Log>);

#[derive(Debug, Default)]
struct State {
    /// How often it began anew.
    life: u64,
    logs: BTreeMap<ConversationId, Log>,
    lease: Option<(u64, Instant)>,
}

#[derive(Debug, Clone)]
struct Log {
    holder: Holder,
    /// The tier's life in which it was taken over.
    life: u64,
    head: Seq,
    cold: Seq,
    version: Seq,
    /// The closing that holds, 0 while it is open, and how many there were.
    closed: (u64, u64),
    is_whole: bool,
    entries: VecDeque<Entry>,
    /// The largest ids of senders in what stands before the entries.
    floors: BTreeMap<UserId, Option<CmId>>,
    cursors: BTreeMap<UserId, (Seq, Seq)>,
    /// Since when something of it waits.
    since: Option<u64>,
}

impl Default for MemoryHot {
    fn default() -> Self {
        Self::new(1000, 100_000)
    }
}

impl MemoryHot {
    /// Keeps so many entries of a log that the store has, and is busy with so many that it has not.
    #[must_use]
    pub fn new(keep: usize, backlog_max: u64) -> Self {
        Self {
            started: Instant::now(),
            keep,
            backlog_max,
            state: Mutex::default(),
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.begin_with(Kept(BTreeMap::new()));
    }

    /// What it has now.
    pub fn keep(&self) -> Kept {
        Kept(self.state.lock().logs.clone())
    }

    /// Begins anew with what it had once, as a server does that lost the last of what it wrote.
    pub fn begin_with(&self, kept: Kept) {
        let mut state = self.state.lock();
        *state = State {
            life: state.life + 1,
            logs: kept.0,
            lease: None,
        };
    }

    /// What stands in the logs above what is known of each, whoever may see it.
    pub(crate) fn above(&self, known: impl Fn(&ConversationId) -> Seq) -> Vec<Entry> {
        let state = self.state.lock();
        let logs = state.logs.iter().filter_map(|(conv, log)| {
            let known = known(conv);
            (log.head > known).then(|| log.entries.iter().filter(move |it| it.seq > known))
        });
        logs.flatten().cloned().collect()
    }

    /// Milliseconds, from 1.
    fn now(&self) -> u64 {
        1 + self.started.elapsed().as_millis() as u64
    }
}

impl State {
    fn waiting(&self) -> u64 {
        let waits = |log: &Log| log.head.0 - log.cold.0;
        self.logs.values().map(waits).sum()
    }
}

impl Log {
    fn first(&self) -> Seq {
        let first = self.entries.front();
        first.map_or_else(|| self.head.next(), |first| first.seq)
    }

    fn sent(&self, from: &UserId, cm_id: &CmId) -> Option<&Entry> {
        let is_it = |it: &&Entry| it.from == *from && it.cm_id.as_ref() == Some(cm_id);
        self.entries.iter().find(is_it)
    }

    /// Whether an id that is not here can't be before either.
    fn is_new(&self, from: &UserId, cm_id: &CmId) -> bool {
        match self.floors.get(from) {
            Some(floor) => floor.as_ref().is_none_or(|floor| floor < cm_id),
            None => self.is_whole,
        }
    }

    fn append(&mut self, commit: &HotCommit, life: u64, now: u64, is_busy: bool) -> HotAnswer {
        if self.closed.0 > 0 {
            return HotAnswer::Closed;
        }
        if self.life != life {
            return HotAnswer::Doubtful;
        }
        let keys = |entry: &NewEntry| Some((entry.from.clone(), entry.cm_id.clone()?));
        let keys: Vec<_> = commit.entries.iter().filter_map(keys).collect();
        let found = keys.iter().map(|(from, id)| self.sent(from, id));
        let found: Vec<_> = found.map(|it| it.map(Stored::from)).collect();
        if found.iter().any(Option::is_some) {
            let version = self.version;
            return HotAnswer::Sent { found, version };
        }
        let first = self.first();
        let was_asked = commit.asked == Some(first);
        if !was_asked && !keys.iter().all(|(from, id)| self.is_new(from, id)) {
            return HotAnswer::Ask { first };
        }
        if commit.expect_version.is_some_and(|it| it != self.version) {
            return match commit.has_actor {
                true => HotAnswer::Version(self.version),
                false => HotAnswer::Conflict,
            };
        }
        if is_busy && !commit.entries.is_empty() {
            return HotAnswer::Busy;
        }
        for (user, floor) in commit.floors.iter().filter(|_| was_asked) {
            let known = self.floors.entry(user.clone());
            known.or_insert_with(|| floor.clone());
        }
        let first = self.head.next();
        for entry in &commit.entries {
            self.head = self.head.next();
            self.entries
                .push_back(entry.at(commit.conv.clone(), self.head));
        }
        for to in &commit.cursors {
            let (delivered, read) = cursor_goal(to, self.head);
            let cursor = self.cursors.entry(to.user.clone()).or_default();
            *cursor = (cursor.0.max(delivered), cursor.1.max(read));
        }
        self.since = self.since.or(Some(now));
        HotAnswer::Done {
            first,
            version: self.version,
            holder: self.holder,
        }
    }

    fn read(&self, query: &LogQuery) -> Vec<Entry> {
        let all = || self.entries.iter();
        match query {
            LogQuery::After { seq, limit, bytes } if seq.next() >= self.first() => {
                take(all().filter(|it| it.seq > *seq), *limit, *bytes)
            }
            LogQuery::Before { seq, limit, bytes } => {
                let mut found = take(all().rev().filter(|it| it.seq < *seq), *limit, *bytes);
                found.reverse();
                found
            }
            LogQuery::Sent { sender, cm_id } => {
                self.sent(sender, cm_id).cloned().into_iter().collect()
            }
            LogQuery::After { .. } | LogQuery::Newest { .. } => Vec::new(),
        }
    }

    fn cursors(&self) -> Vec<CursorMove> {
        let cursors = self.cursors.iter();
        let moves = cursors.map(|(user, (delivered, read))| CursorMove {
            user: user.clone(),
            delivered: Some(*delivered),
            read: Some(*read),
        });
        moves.collect()
    }

    fn pending(&self, conv: &ConversationId, limit: usize, life: u64, now: u64) -> Pending {
        let entries = self.entries.iter().filter(|it| it.seq > self.cold);
        let entries: Vec<_> = entries.take(limit).map(|it| it.new.clone()).collect();
        let is_all = self.cold.0 + entries.len() as u64 == self.head.0;
        Pending {
            conv: conv.clone(),
            holder: self.holder,
            run: Run {
                first: self.cold.next(),
                entries,
            },
            cursors: self.cursors(),
            as_of: if is_all { now } else { 0 },
            closing: 0,
            is_idle: false,
            is_doubtful: self.life != life,
        }
    }

    fn done(&mut self, flushed: &Pending, keep: usize) {
        let cold = Seq(flushed.run.first.0 - 1 + flushed.run.entries.len() as u64);
        self.cold = self.cold.max(cold.min(self.head));
        for it in &flushed.cursors {
            let moved = (
                it.delivered.unwrap_or_default(),
                it.read.unwrap_or_default(),
            );
            if self.cursors.get(&it.user) == Some(&moved) {
                self.cursors.remove(&it.user);
            }
        }
        if self.cold == self.head && self.cursors.is_empty() {
            self.since = None;
        } else if flushed.as_of > 0 {
            self.since = self.since.max(Some(flushed.as_of));
        }
        while self.entries.len() > keep && self.entries[0].seq <= self.cold {
            let Some(entry) = self.entries.pop_front() else {
                return;
            };
            if let Some(cm_id) = &entry.cm_id {
                self.raise(&entry.from, cm_id);
            }
        }
    }

    /// An id stands before what is here from now on.
    fn raise(&mut self, from: &UserId, cm_id: &CmId) {
        if self.is_whole || self.floors.contains_key(from) {
            let floor = self.floors.entry(from.clone()).or_default();
            *floor = floor.take().max(Some(cm_id.clone()));
        }
    }
}

#[async_trait]
impl Hot for MemoryHot {
    async fn append(&self, commits: &[HotCommit]) -> Vec<Result<HotAnswer, PortError>> {
        let mut state = self.state.lock();
        let (now, life) = (self.now(), state.life);
        let mut stopped = BTreeSet::new();
        let mut answers = Vec::with_capacity(commits.len());
        for commit in commits {
            let is_busy = state.waiting() >= self.backlog_max;
            let answer = match state.logs.get_mut(&commit.conv) {
                _ if stopped.contains(&commit.conv) => HotAnswer::Later,
                None => HotAnswer::Cold,
                Some(log) => log.append(commit, life, now, is_busy),
            };
            if answer.is_to_come_again() {
                stopped.insert(commit.conv.clone());
            }
            answers.push(Ok(answer));
        }
        answers
    }

    async fn read(
        &self,
        conv: &ConversationId,
        query: Option<&LogQuery>,
    ) -> Result<Option<HotView>, PortError> {
        let state = self.state.lock();
        Ok(state.logs.get(conv).map(|log| HotView {
            holder: log.holder,
            is_closed: log.closed.0 > 0,
            head: log.head,
            cold: log.cold,
            first: log.first(),
            entries: query.map_or_else(Vec::new, |query| log.read(query)),
            cursors: log.cursors(),
        }))
    }

    async fn warm(&self, warming: &Warming) -> Result<Holder, PortError> {
        let mut state = self.state.lock();
        let life = state.life;
        let log = state.logs.entry(warming.conv.clone());
        let log = log.or_insert_with(|| Log {
            holder: warming.holder,
            life,
            head: warming.head,
            cold: warming.head,
            version: warming.version,
            closed: (1, 1),
            is_whole: warming.is_whole,
            entries: warming.entries.iter().cloned().collect(),
            floors: BTreeMap::new(),
            cursors: BTreeMap::new(),
            since: None,
        });
        Ok(log.holder)
    }

    async fn close(
        &self,
        conv: &ConversationId,
        holder: Option<Holder>,
    ) -> Result<Option<Pending>, PortError> {
        let now = self.now();
        let mut state = self.state.lock();
        let life = state.life;
        let log = state.logs.get_mut(conv);
        let log = log.filter(|log| holder.is_none_or(|holder| log.holder == holder));
        Ok(log.map(|log| {
            log.closed = (log.closed.1 + 1, log.closed.1 + 1);
            Pending {
                closing: log.closed.0,
                ..log.pending(conv, usize::MAX, life, now)
            }
        }))
    }

    async fn settle(
        &self,
        conv: &ConversationId,
        holder: Holder,
        closing: u64,
        settle: Settle,
    ) -> Result<(), PortError> {
        let mut state = self.state.lock();
        let life = state.life;
        let log = state.logs.get_mut(conv);
        let Some(log) = log.filter(|log| log.holder == holder && log.closed.0 == closing) else {
            return Ok(());
        };
        match settle {
            Settle::Reopen(holder) => {
                log.holder = holder;
                log.life = life;
                log.closed.0 = 0;
            }
            Settle::Forget => drop(state.logs.remove(conv)),
        }
        Ok(())
    }

    async fn pending(&self, which: Which<'_>) -> Result<Vec<Pending>, PortError> {
        let now = self.now();
        let mut state = self.state.lock();
        let life = state.life;
        match which {
            Which::Of(convs) => {
                let found = convs.iter().filter_map(|conv| {
                    let log = state.logs.get(conv)?;
                    Some(log.pending(conv, usize::MAX, life, now))
                });
                Ok(found.collect())
            }
            Which::Oldest { worker, limit } => {
                let other = |it: (u64, Instant)| it.0 != worker && it.1 > Instant::now();
                if state.lease.is_some_and(other) {
                    return Ok(Vec::new());
                }
                state.lease = Some((worker, Instant::now() + LEASE));
                let logs = state.logs.iter();
                let mut waiting: Vec<_> = logs.filter(|(_, log)| log.since.is_some()).collect();
                waiting.sort_by_key(|(_, log)| log.since);
                let mut left = limit;
                let mut found = Vec::new();
                for (conv, log) in waiting {
                    let pending = log.pending(conv, limit, life, now);
                    left = left.saturating_sub(pending.run.entries.len().max(1));
                    found.push(pending);
                    if left == 0 {
                        break;
                    }
                }
                Ok(found)
            }
        }
    }

    async fn done(&self, flushed: &[Pending]) -> Result<(), PortError> {
        let mut state = self.state.lock();
        for it in flushed {
            let log = state.logs.get_mut(&it.conv);
            if let Some(log) = log.filter(|log| log.holder == it.holder) {
                log.done(it, self.keep);
            }
        }
        Ok(())
    }

    async fn lag(&self) -> Result<Vec<Lag>, PortError> {
        let state = self.state.lock();
        let since = state.logs.values().filter_map(|log| log.since);
        Ok(vec![Lag {
            now: self.now(),
            oldest: since.min(),
            entries: state.waiting(),
        }])
    }
}
