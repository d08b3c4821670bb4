//! The hot tier on Redis: logs by lanes, each lane one slot, each change of it one script.

mod scripts;
mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use im_core::model::{CmId, ConversationId, Holder, Seq};
use im_core::port::{
    CursorMove, Hot, HotAnswer, HotCommit, HotView, Lag, LogQuery, Pending, PortError, Settle,
    Warming, Which,
};
use im_link::redis::Server;
use im_link::{ConnectError, check_prefix};
use redis::{ScriptInvocation, Value};

use self::scripts::Scripts;
use self::words::{Answer, id_of, write_entry, write_stored};
use crate::link::Redis;

const LOSS: &str = "the hot tier is away";
/// Commits of one script: others of the server wait while it runs.
const COMMITS_MAX: usize = 128;
/// The least entries that a lane is asked for at once.
const TAKE_MIN: usize = 64;
/// The most lanes: each costs a few calls for every flush.
const LANES_MAX: u16 = 256;

/// How a hot tier is set up; the same on all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotOptions {
    /// What all keys begin with: 1–64 characters of `A-Z a-z 0-9 _ - .`
    pub prefix: String,
    /// For `rediss://`: the certificates of the authorities that are trusted, as PEM text.
    pub ca_pem: Option<String>,
    /// The URL is that of one server of a Redis Cluster, which tells of the others.
    pub is_cluster: bool,
    /// Into how many lanes conversations are spread, from 1 to 256. A lane is on one server of a
    /// cluster. Not to be changed while anything is hot.
    pub lanes: u16,
    /// Entries of a log that are kept when the store has them.
    pub keep: usize,
    /// For how long, by their own time.
    pub keep_for: Duration,
    /// A log that nobody appends to for so long goes back to the store.
    pub idle: Duration,
    /// So many entries that have not reached the store, in all lanes, and the tier takes no more.
    pub backlog_max: u64,
    /// The same when one of a lane waits for so long.
    pub backlog_for: Duration,
    /// How long the lease of a lane's flusher holds.
    pub lease: Duration,
}

impl Default for HotOptions {
    fn default() -> Self {
        Self {
            prefix: "im".to_owned(),
            ca_pem: None,
            is_cluster: false,
            lanes: 16,
            keep: 500,
            keep_for: Duration::from_secs(3600),
            idle: Duration::from_secs(600),
            backlog_max: 200_000,
            backlog_for: Duration::from_secs(15),
            lease: Duration::from_secs(2),
        }
    }
}

/// The [`Hot`] tier on Redis.
#[derive(Debug)]
pub struct RedisHot {
    redis: Redis,
    scripts: Scripts,
    /// What each lane's keys begin with.
    lanes: Vec<String>,
    options: HotOptions,
}

impl RedisHot {
    /// Connects to `redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS.
    ///
    /// Redis must not evict (`maxmemory-policy noeviction`), and what it loses in a crash is what
    /// its own `appendonly` says.
    ///
    /// # Errors
    /// When the URL or the options can't be used, or nobody answers there within 2 s as a Redis
    /// that takes the credentials, or these don't allow `INFO`, by which a restart is noticed. No
    /// error shows these.
    pub async fn connect(url: &str, options: HotOptions) -> Result<Self, ConnectError> {
        check_prefix(&options.prefix)?;
        if !(1..=LANES_MAX).contains(&options.lanes) {
            return Err(ConnectError::Option("lanes are 1 to 256"));
        }
        let server = Server::parse(url, options.ca_pem.as_deref())?;
        let redis = if options.is_cluster {
            Redis::start_cluster(server, LOSS).await?
        } else {
            Redis::start(server, LOSS).await?
        };
        let lane = |lane| format!("{{{}-hot-{lane}}}", options.prefix);
        let hot = Self {
            redis,
            scripts: Scripts::new(),
            lanes: (0..options.lanes).map(lane).collect(),
            options,
        };
        let heard = {
            let hello = hot.scripts.hello.key(&*hot.lanes[0]);
            hot.redis.run::<String>(&hello).await
        };
        match heard {
            // That it is away passes, and this does not.
            Err(error) if !error.is_retryable() => Err(ConnectError::Option(
                "the hot tier's login must be allowed to run scripts, and INFO in them",
            )),
            _ => Ok(hot),
        }
    }

    /// Which lane a log has: FNV-1a, the same for every node and version.
    fn lane_of(&self, conv: &ConversationId) -> usize {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = conv.as_str().as_bytes().iter();
        let hash = hash.fold(0xcbf2_9ce4_8422_2325, step);
        (hash % self.lanes.len() as u64) as usize
    }

    fn base(&self, conv: &ConversationId) -> &str {
        &self.lanes[self.lane_of(conv)]
    }

    /// The places of some items, lane by lane.
    fn by_lane<'a>(&self, convs: impl Iterator<Item = &'a ConversationId>) -> Vec<Vec<usize>> {
        let mut lanes = vec![Vec::new(); self.lanes.len()];
        for (at, conv) in convs.enumerate() {
            lanes[self.lane_of(conv)].push(at);
        }
        lanes
    }

    async fn run(&self, call: &ScriptInvocation<'_>) -> Result<Answer, PortError> {
        Answer::new(self.redis.run::<Value>(call).await?)
    }

    /// Runs the commits of one lane, in their order.
    async fn append_lane(
        &self,
        lane: usize,
        commits: Vec<&HotCommit>,
    ) -> Vec<Result<HotAnswer, PortError>> {
        let mut answers: Vec<_> = commits.iter().map(|_| Ok(HotAnswer::Later)).collect();
        // What had to wait in one script, what is behind it must not overtake in the next.
        let mut stopped = BTreeSet::new();
        for from in (0..commits.len()).step_by(COMMITS_MAX) {
            let to = commits.len().min(from + COMMITS_MAX);
            let at = (from..to).filter(|at| !stopped.contains(&commits[*at].conv));
            let at: Vec<_> = at.collect();
            let some: Vec<_> = at.iter().map(|at| commits[*at]).collect();
            match self.append_some(lane, &some).await {
                Ok(found) => {
                    for (at, answer) in at.into_iter().zip(found) {
                        if answer.is_to_come_again() {
                            stopped.insert(&commits[at].conv);
                        }
                        answers[at] = Ok(answer);
                    }
                }
                Err(error) => {
                    for answer in &mut answers[from..] {
                        *answer = Err(error.clone());
                    }
                    break;
                }
            }
        }
        answers
    }

    async fn append_some(
        &self,
        lane: usize,
        commits: &[&HotCommit],
    ) -> Result<Vec<HotAnswer>, PortError> {
        let options = &self.options;
        let mut call = self.scripts.append.key(&*self.lanes[lane]);
        call.arg((options.backlog_max / self.lanes.len() as u64).max(1))
            .arg(millis(options.backlog_for))
            .arg(millis(options.idle) / 8);
        for commit in commits {
            add_commit(&mut call, commit);
        }
        let mut found = self.run(&call).await?;
        let mut answers = Vec::with_capacity(commits.len());
        for _ in commits {
            answers.push(found.list()?.answer()?);
        }
        Ok(answers)
    }

    async fn all_pending(&self, call: &ScriptInvocation<'_>) -> Result<Vec<Pending>, PortError> {
        let mut found = self.run(call).await?;
        let mut all = Vec::new();
        while !found.is_empty() {
            all.push(found.list()?.pending()?);
        }
        Ok(all)
    }

    async fn take(&self, worker: u64, limit: usize) -> Result<Vec<Pending>, PortError> {
        let limit = (limit / self.lanes.len()).max(TAKE_MIN);
        let take = self.lanes.iter().map(|lane| async move {
            let mut call = self.scripts.take.key(&**lane);
            call.arg(worker)
                .arg(millis(self.options.lease))
                .arg(limit)
                .arg(millis(self.options.idle));
            self.all_pending(&call).await
        });
        let found: Result<Vec<_>, _> = join_all(take).await.into_iter().collect();
        Ok(found?.into_iter().flatten().collect())
    }

    async fn pending_of(&self, convs: &[ConversationId]) -> Result<Vec<Pending>, PortError> {
        let lanes = self.by_lane(convs.iter()).into_iter().enumerate();
        let lanes = lanes.filter(|(_, at)| !at.is_empty());
        let ask = lanes.map(|(lane, at)| async move {
            let mut call = self.scripts.of.key(&*self.lanes[lane]);
            for at in at {
                call.arg(convs[at].as_str());
            }
            self.all_pending(&call).await
        });
        let found: Result<Vec<_>, _> = join_all(ask).await.into_iter().collect();
        Ok(found?.into_iter().flatten().collect())
    }
}

#[async_trait]
impl Hot for RedisHot {
    async fn append(&self, commits: &[HotCommit]) -> Vec<Result<HotAnswer, PortError>> {
        let lanes = self.by_lane(commits.iter().map(|it| &it.conv)).into_iter();
        let lanes: Vec<_> = lanes.enumerate().filter(|(_, at)| !at.is_empty()).collect();
        let run = lanes.iter().map(|(lane, at)| {
            let commits = at.iter().map(|at| &commits[*at]).collect();
            self.append_lane(*lane, commits)
        });
        let found = join_all(run).await;
        let mut answers: Vec<_> = commits.iter().map(|_| Err(words::bad())).collect();
        for ((_, at), found) in lanes.into_iter().zip(found) {
            for (at, answer) in at.into_iter().zip(found) {
                answers[at] = answer;
            }
        }
        answers
    }

    async fn read(
        &self,
        conv: &ConversationId,
        query: Option<&LogQuery>,
    ) -> Result<Option<HotView>, PortError> {
        let mut call = self.scripts.read.key(self.base(conv));
        call.arg(conv.as_str());
        match query {
            Some(LogQuery::After { seq, limit, .. }) => {
                call.arg("after").arg(seq.0).arg(*limit);
            }
            Some(LogQuery::Before { seq, limit, .. }) => {
                call.arg("before").arg(seq.0).arg(*limit);
            }
            Some(LogQuery::Sent { sender, cm_id }) => {
                call.arg("sent").arg(format!("{sender}\n{cm_id}")).arg("");
            }
            Some(LogQuery::Newest { .. }) | None => {
                call.arg("").arg("").arg("");
            }
        }
        let mut found = self.run(&call).await?;
        if found.is_empty() {
            return Ok(None);
        }
        found.view(conv).map(Some)
    }

    async fn warm(&self, log: &Warming) -> Result<Holder, PortError> {
        let mut call = self.scripts.warm.key(self.base(&log.conv));
        let first = log.entries.first();
        let first = first.map_or_else(|| log.head.next(), |it| it.seq);
        call.arg(log.conv.as_str())
            .arg(log.holder.0)
            .arg(log.head.0)
            .arg(log.version.0)
            .arg(first.0)
            .arg(if log.is_whole { 2 } else { 0 });
        for entry in &log.entries {
            call.arg(write_entry(&entry.new))
                .arg(id_of(&entry.new))
                .arg(write_stored(entry));
        }
        let holder: String = self.redis.run(&call).await?;
        holder.parse().map(Holder).map_err(|_| words::bad())
    }

    async fn close(
        &self,
        conv: &ConversationId,
        holder: Option<Holder>,
    ) -> Result<Option<Pending>, PortError> {
        let mut call = self.scripts.close.key(self.base(conv));
        call.arg(conv.as_str())
            .arg(holder.map_or_else(String::new, |holder| holder.to_string()));
        let found = self.all_pending(&call).await?;
        Ok(found.into_iter().next())
    }

    async fn settle(
        &self,
        conv: &ConversationId,
        holder: Holder,
        closing: u64,
        settle: Settle,
    ) -> Result<(), PortError> {
        let mut call = self.scripts.settle.key(self.base(conv));
        let to = match settle {
            Settle::Reopen(to) => to.to_string(),
            Settle::Forget => String::new(),
        };
        call.arg(conv.as_str()).arg(holder.0).arg(closing).arg(to);
        self.redis.run::<u64>(&call).await.map(drop)
    }

    async fn pending(&self, which: Which<'_>) -> Result<Vec<Pending>, PortError> {
        match which {
            Which::Oldest { worker, limit } => self.take(worker, limit).await,
            Which::Of(convs) => self.pending_of(convs).await,
        }
    }

    async fn done(&self, flushed: &[Pending]) -> Result<(), PortError> {
        let lanes = self.by_lane(flushed.iter().map(|it| &it.conv)).into_iter();
        let lanes = lanes.enumerate().filter(|(_, at)| !at.is_empty());
        let tell = lanes.map(|(lane, at)| async move {
            for some in at.chunks(COMMITS_MAX) {
                let mut call = self.scripts.done.key(&*self.lanes[lane]);
                call.arg(self.options.keep)
                    .arg(millis(self.options.keep_for));
                for at in some {
                    add_flushed(&mut call, &flushed[*at]);
                }
                self.redis.run::<u64>(&call).await?;
            }
            Ok(())
        });
        join_all(tell).await.into_iter().collect()
    }

    async fn lag(&self) -> Result<Vec<Lag>, PortError> {
        let ask = self.lanes.iter().map(|lane| async move {
            let mut found = self.run(&self.scripts.lag.key(&**lane)).await?;
            let (now, oldest) = (found.number()?, found.text()?);
            Ok(Lag {
                now,
                oldest: oldest.parse().ok(),
                entries: found.number()?,
            })
        });
        join_all(ask).await.into_iter().collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn add_commit(call: &mut ScriptInvocation<'_>, commit: &HotCommit) {
    let seq = |seq: Option<Seq>| seq.map_or_else(String::new, |seq| seq.to_string());
    call.arg(commit.conv.as_str())
        .arg(seq(commit.expect_version))
        .arg(u8::from(commit.has_actor))
        .arg(seq(commit.asked))
        .arg(commit.entries.len())
        .arg(commit.floors.len())
        .arg(commit.cursors.len());
    for entry in &commit.entries {
        call.arg(id_of(entry))
            .arg(entry.digest)
            .arg(entry.id.0)
            .arg(entry.at.0)
            .arg(write_entry(entry));
    }
    for (user, floor) in &commit.floors {
        let floor = floor.as_ref().map(CmId::as_str);
        let floor = floor.map_or_else(String::new, |floor| format!("={floor}"));
        call.arg(user.as_str()).arg(floor);
    }
    for to in &commit.cursors {
        let (delivered, read) = places(to);
        call.arg(to.user.as_str()).arg(delivered).arg(read);
    }
}

fn add_flushed(call: &mut ScriptInvocation<'_>, flushed: &Pending) {
    let upto = flushed.run.first.0.saturating_sub(1) + flushed.run.entries.len() as u64;
    call.arg(flushed.conv.as_str())
        .arg(flushed.holder.0)
        .arg(upto)
        .arg(flushed.as_of)
        .arg(flushed.cursors.len());
    for to in &flushed.cursors {
        let (delivered, read) = places(to);
        call.arg(to.user.as_str())
            .arg(format!("{delivered} {read}"));
    }
}

fn places(to: &CursorMove) -> (u64, u64) {
    let place = |seq: Option<Seq>| seq.unwrap_or_default().0;
    (place(to.delivered), place(to.read))
}
