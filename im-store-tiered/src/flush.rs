//! The flusher: what waits in the hot tier goes to the cold store, and is forgotten there after.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use im_core::model::{ConversationId, Holder, Seq};
use im_core::port::{Commit, Pending, PortError, PortErrorKind, Rejected, Which, Write};
use tokio::time::{Instant, timeout};

use crate::Inner;
use crate::append::away;
use crate::direct::flush_commit;

/// The first wait after a failure; each is twice the one before.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often the lag is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How often a list looks whether what it waits for is done.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Flushes for as long as the store lives.
pub(crate) async fn run(inner: Weak<Inner>) {
    let mut backoff = BACKOFF_MIN;
    let mut measured = None;
    loop {
        let Some(inner) = inner.upgrade() else { return };
        if measured.is_none_or(|at: Instant| at.elapsed() >= MEASURE_EVERY) {
            measured = Some(Instant::now());
            inner.measure().await;
        }
        match inner.flush_some().await {
            Ok(0) => {
                backoff = BACKOFF_MIN;
                let every = inner.options.flush_every;
                // Whichever comes first: somebody appended here, or perhaps elsewhere.
                let _ = timeout(every, inner.nudge.notified()).await;
            }
            Ok(_) => backoff = BACKOFF_MIN,
            Err(error) => {
                tracing::warn!(%error, "what is hot could not be flushed; trying again");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Up to where the cold store has a log that the tier has under this number.
pub(crate) type Cold = BTreeMap<ConversationId, (Holder, Seq)>;

/// What a flush came to.
struct Flushed {
    cold: Cold,
    /// Whether the tier heard of it.
    noted: Result<(), PortError>,
}

impl Inner {
    /// Flushes what waits longest, of the lanes that are ours; how many logs that were.
    async fn flush_some(&self) -> Result<usize, PortError> {
        let which = Which::Oldest {
            worker: self.worker,
            limit: self.options.flush_entries,
        };
        let pending = self.hot.pending(which).await?;
        let (idle, pending): (Vec<_>, Vec<_>) = pending.into_iter().partition(|it| it.is_idle);
        let count = pending.len();
        // A tier that is told nothing gives the same again: then there is a wait in between.
        self.flush(pending).await?.noted?;
        for it in idle {
            self.release(&it.conv).await?;
        }
        Ok(count)
    }

    /// Flushes these logs; up to where the cold store has each that is hot, and under which number.
    pub(crate) async fn flush_logs(&self, convs: &[ConversationId]) -> Result<Cold, PortError> {
        let pending = self.hot.pending(Which::Of(convs)).await?;
        let Flushed { cold, noted } = self.flush(pending).await?;
        match noted {
            Err(error) if self.is_cached() => Err(error),
            _ => Ok(cold),
        }
    }

    /// The batch to the cold store, and only then the word to the tier.
    async fn flush(&self, mut pending: Vec<Pending>) -> Result<Flushed, PortError> {
        // Lists show what changed in the order in which it comes to the store.
        pending.sort_by_key(|it| it.run.entries.last().map(|last| last.at));
        let batch = batch_of(&pending);
        let answers = match batch.is_empty() {
            true => Vec::new(),
            false => self.cold.commit(&batch).await,
        };
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Err(away()));
        let entries: Vec<_> = pending
            .iter()
            .map(|it| has_entries(it).then(&mut next))
            .collect();
        let cursors: Vec<_> = pending
            .iter()
            .map(|it| has_cursors(it).then(&mut next))
            .collect();
        let (mut flushed, mut refused, mut failed) = (Vec::new(), Vec::new(), None);
        for ((mut it, entries), cursors) in pending.into_iter().zip(entries).zip(cursors) {
            match entries {
                Some(Err(Rejected::Store(error))) if error.is_retryable() => failed = Some(error),
                Some(Err(rejected)) => {
                    tracing::warn!(%rejected, "the store refuses what is hot of a log");
                    refused.push(it);
                }
                entries => match cursors {
                    Some(Err(Rejected::Store(error))) if error.is_retryable() => {
                        failed = Some(error);
                        it.cursors.clear();
                        it.as_of = 0;
                        if entries.is_some() {
                            flushed.push(it);
                        }
                    }
                    Some(Err(rejected)) => {
                        // Nobody's, and not kept: they would be brought again and again.
                        tracing::warn!(%rejected, "the store refuses cursors");
                        flushed.push(it);
                    }
                    _ => flushed.push(it),
                },
            }
        }
        let noted = self.note(&flushed).await;
        for it in refused {
            self.go_on(&it).await?;
        }
        match failed {
            Some(error) if flushed.is_empty() => Err(error),
            _ => {
                let flushed = flushed.into_iter();
                let cold = flushed.map(|it| (it.conv.clone(), (it.holder, cold(&it))));
                Ok(Flushed {
                    cold: cold.collect(),
                    noted,
                })
            }
        }
    }

    /// Tells the tier what has reached the store. If it does not hear of it, the same is written
    /// again, which writes nothing.
    async fn note(&self, flushed: &[Pending]) -> Result<(), PortError> {
        if flushed.is_empty() {
            return Ok(());
        }
        let entries: usize = flushed.iter().map(|it| it.run.entries.len()).sum();
        metrics::counter!("im_hot_flushed_total").increment(entries as u64);
        self.hot.done(flushed).await
    }

    /// Waits until what was appended up to now is in the cold store.
    pub(crate) async fn settled(&self) -> Result<(), PortError> {
        let start = match self.hot.lag().await {
            // What was answered is in the cold store.
            Err(_) if !self.is_cached() => return Ok(()),
            lanes => lanes?,
        };
        if !self.is_cached() || start.iter().all(|lane| lane.oldest.is_none()) {
            return Ok(());
        }
        let deadline = Instant::now() + self.options.list_wait;
        loop {
            self.nudge.notify_one();
            tokio::time::sleep(LOOK_EVERY).await;
            let lanes = self.hot.lag().await?;
            let late = |(lane, start): (&im_core::port::Lag, &im_core::port::Lag)| {
                lane.oldest.is_some_and(|oldest| oldest <= start.now)
            };
            if !lanes.iter().zip(&start).any(late) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(PortError::new(PortErrorKind::Unavailable));
            }
        }
    }

    async fn measure(&self) {
        let Ok(lanes) = self.hot.lag().await else {
            return;
        };
        let lag = lanes.iter().filter_map(|lane| {
            let oldest = lane.oldest?;
            Some(lane.now.saturating_sub(oldest))
        });
        let lag = lag.max().unwrap_or_default();
        let waiting: u64 = lanes.iter().map(|lane| lane.entries).sum();
        metrics::gauge!("im_hot_flush_lag_seconds").set(lag as f64 / 1000.0);
        metrics::gauge!("im_hot_unflushed").set(waiting as f64);
    }
}

fn has_entries(pending: &Pending) -> bool {
    !pending.run.entries.is_empty()
}

fn has_cursors(pending: &Pending) -> bool {
    !pending.cursors.is_empty()
}

/// Up to where the store has a log when this has reached it.
fn cold(pending: &Pending) -> Seq {
    Seq(pending.run.first.0.saturating_sub(1) + pending.run.entries.len() as u64)
}

/// First all entries, then all cursors: those are changes of their own.
fn batch_of(pending: &[Pending]) -> Vec<Commit> {
    let entries = pending.iter().filter(|it| has_entries(it)).map(|it| {
        let mut commit = flush_commit(it, it.holder, false);
        commit.writes.truncate(2);
        commit
    });
    let cursors = pending
        .iter()
        .filter(|it| has_cursors(it))
        .map(|it| Commit {
            conv: it.conv.clone(),
            expect_version: None,
            actor: None,
            writes: it.cursors.iter().cloned().map(Write::Cursor).collect(),
        });
    entries.chain(cursors).collect()
}
