//! The hot tier on Redis: logs by lanes, each lane one slot, each change of it one script.

mod append;
mod lanes;
mod scripts;
mod words;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use im_core::model::{ConversationId, Holder, Seq};
use im_core::port::{
    CursorMove, Hot, HotAnswer, HotCommit, HotView, Lag, LogQuery, Pending, PortError, Settle,
    Warming, Which,
};
use im_link::redis::Server;
use im_link::{ConnectError, check_prefix};
use redis::Value;

use self::lanes::Lanes;
use self::scripts::Scripts;
use self::words::{Answer, write_entry, write_id, write_stored};
use crate::link::{Call, Redis, To};

const LOSS: &str = "the hot tier is away";
/// Logs of one script that looks for what waits or hears of it: others wait while it runs.
const LOGS_MAX: usize = 128;
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
    lanes: Lanes,
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
        let to = match options.is_cluster {
            true => To::Cluster,
            false => To::OneWithLife,
        };
        let redis = Redis::start(server, to, LOSS).await?;
        let hot = Self {
            redis,
            scripts: Scripts::new(),
            lanes: Lanes::new(&options.prefix, options.lanes, options.is_cluster),
            options,
        };
        let hello = hot.lanes.call_any(&hot.scripts.hello);
        let heard = hot.redis.run_in_life::<String>(hello).await;
        match heard {
            // That it is away passes, and this does not.
            Err(error) if !error.is_retryable() => Err(ConnectError::Option(
                "the hot tier's login must be allowed to run scripts, and INFO in them",
            )),
            _ => Ok(hot),
        }
    }

    async fn run(&self, call: Call<'_>) -> Result<Answer, PortError> {
        Answer::new(self.redis.run_in_life::<Value>(call).await?)
    }

    async fn all_pending(&self, call: Call<'_>) -> Result<Vec<Pending>, PortError> {
        let mut found = self.run(call).await?;
        let mut all = Vec::new();
        while !found.is_empty() {
            all.push(found.list()?.pending()?);
        }
        Ok(all)
    }

    async fn take(&self, worker: u64, limit: usize) -> Result<Vec<Pending>, PortError> {
        let limit = (limit / self.lanes.count()).max(TAKE_MIN);
        let take = self.lanes.calls(&self.scripts.take).map(|mut call| {
            call.arg(worker)
                .arg(millis(self.options.lease))
                .arg(limit)
                .arg(millis(self.options.idle));
            self.all_pending(call)
        });
        let found: Result<Vec<_>, _> = join_all(take).await.into_iter().collect();
        Ok(found?.into_iter().flatten().collect())
    }

    async fn pending_of(&self, convs: &[ConversationId]) -> Result<Vec<Pending>, PortError> {
        let parts = self
            .lanes
            .parts(convs.iter().map(|conv| (conv, 1)), LOGS_MAX);
        let ask = parts.iter().map(|part| {
            let mut call = part.call(&self.scripts.of, &self.lanes);
            for (at, lane) in &part.items {
                call.arg(lane).arg(convs[*at].as_str());
            }
            self.all_pending(call)
        });
        let found: Result<Vec<_>, _> = join_all(ask).await.into_iter().collect();
        Ok(found?.into_iter().flatten().collect())
    }
}

#[async_trait]
impl Hot for RedisHot {
    async fn append(&self, commits: &[HotCommit]) -> Vec<Result<HotAnswer, PortError>> {
        self.append_all(commits).await
    }

    async fn read(
        &self,
        conv: &ConversationId,
        query: Option<&LogQuery>,
    ) -> Result<Option<HotView>, PortError> {
        let mut call = self.lanes.call(&self.scripts.read, conv);
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
        let mut found = self.run(call).await?;
        if found.is_empty() {
            return Ok(None);
        }
        found.view(conv).map(Some)
    }

    async fn warm(&self, log: &Warming) -> Result<Holder, PortError> {
        let mut call = self.lanes.call(&self.scripts.warm, &log.conv);
        let first = log.entries.first();
        let first = first.map_or_else(|| log.head.next(), |it| it.seq);
        call.arg(log.conv.as_str())
            .arg(log.holder.0)
            .arg(log.head.0)
            .arg(log.version.0)
            .arg(first.0)
            .arg(if log.is_whole { 2 } else { 0 });
        for entry in &log.entries {
            let (mut text, mut id) = (String::new(), String::new());
            let mut stored = format!("{} ", entry.seq);
            write_entry(&mut text, &entry.new);
            write_id(&mut id, &entry.new);
            write_stored(&mut stored, &entry.new);
            call.arg(text).arg(id).arg(stored);
        }
        let holder: String = self.redis.run_in_life(call).await?;
        holder.parse().map(Holder).map_err(|_| words::bad())
    }

    async fn close(
        &self,
        conv: &ConversationId,
        holder: Option<Holder>,
    ) -> Result<Option<Pending>, PortError> {
        let mut call = self.lanes.call(&self.scripts.close, conv);
        call.arg(conv.as_str())
            .arg(holder.map_or_else(String::new, |holder| holder.to_string()));
        let found = self.all_pending(call).await?;
        Ok(found.into_iter().next())
    }

    async fn settle(
        &self,
        conv: &ConversationId,
        holder: Holder,
        closing: u64,
        settle: Settle,
    ) -> Result<(), PortError> {
        let mut call = self.lanes.call(&self.scripts.settle, conv);
        let to = match settle {
            Settle::Reopen(to) => to.to_string(),
            Settle::Forget => String::new(),
        };
        call.arg(conv.as_str()).arg(holder.0).arg(closing).arg(to);
        self.redis.run_in_life::<u64>(call).await.map(drop)
    }

    async fn pending(&self, which: Which<'_>) -> Result<Vec<Pending>, PortError> {
        match which {
            Which::Oldest { worker, limit } => self.take(worker, limit).await,
            Which::Of(convs) => self.pending_of(convs).await,
        }
    }

    async fn done(&self, flushed: &[Pending]) -> Result<(), PortError> {
        let logs = flushed.iter().map(|it| (&it.conv, 1));
        let parts = self.lanes.parts(logs, LOGS_MAX);
        let tell = parts.iter().map(|part| {
            let mut call = part.call(&self.scripts.done, &self.lanes);
            call.arg(self.options.keep)
                .arg(millis(self.options.keep_for));
            for (at, lane) in &part.items {
                call.arg(lane);
                add_flushed(&mut call, &flushed[*at]);
            }
            self.redis.run_in_life::<u64>(call)
        });
        let told: Result<Vec<_>, _> = join_all(tell).await.into_iter().collect();
        told.map(drop)
    }

    async fn lag(&self) -> Result<Vec<Lag>, PortError> {
        let ask = self
            .lanes
            .calls(&self.scripts.lag)
            .map(|call| self.run(call));
        let mut lanes = Vec::with_capacity(self.lanes.count());
        for found in join_all(ask).await {
            let mut found = found?;
            while !found.is_empty() {
                lanes.push(found.list()?.lag()?);
            }
        }
        Ok(lanes)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn add_flushed(call: &mut Call<'_>, flushed: &Pending) {
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
