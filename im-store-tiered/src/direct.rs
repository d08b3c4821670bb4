//! What is the cold store's: commits that do more than append, and who has a log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use im_core::model::{Conversation, ConversationId, Holder, MessageId, Seq};
use im_core::port::{
    Commit, Hold, LogQuery, Pending, PortError, PortErrorKind, Rejected, Settle, Warming, Write,
};
use tokio::time::Instant;

use crate::append::{Answers, is_fenced};
use crate::{Inner, hash};

/// How often a commit is tried that finds its log hot again each time.
const FENCED_TRIES: usize = 20;
/// How long a log is tried to be made hot.
const WARM_WAIT: Duration = Duration::from_secs(4);
/// Entries that a log which becomes hot brings along, for those who catch up and for their ids.
const WARM_ENTRIES: usize = 100;
/// Bytes of their bodies.
const WARM_BYTES: usize = 256 << 10;

impl Inner {
    /// Commits to the cold store; what is hot of their logs goes there before.
    pub(crate) async fn direct(&self, batch: &[Commit], at: &[usize], answers: &mut Answers) {
        let mut at = at.to_vec();
        for _ in 0..FENCED_TRIES {
            let commits: Vec<_> = at.iter().map(|at| batch[*at].clone()).collect();
            let found = self.cold.commit(&commits).await;
            let mut fenced = Vec::new();
            for (at, answer) in at.into_iter().zip(found) {
                if is_fenced(&answer) {
                    fenced.push(at);
                } else {
                    answers[at] = Some(answer);
                }
            }
            at = fenced;
            let convs: BTreeSet<_> = at.iter().map(|at| &batch[*at].conv).collect();
            let mut failed = BTreeMap::new();
            for conv in convs {
                if let Err(error) = self.release(conv).await {
                    failed.insert(conv, error);
                }
            }
            at.retain(|at| match failed.get(&batch[*at].conv) {
                Some(error) => {
                    answers[*at] = Some(Err(error.clone().into()));
                    false
                }
                None => true,
            });
            if at.is_empty() {
                return;
            }
        }
        // Those that are left have no answer: others were quicker each time.
    }

    /// Gives a log back to the cold store, with all that is hot of it.
    pub(crate) async fn release(&self, conv: &ConversationId) -> Result<(), PortError> {
        let closed = match self.hot.close(conv, None).await {
            // What was answered is in the cold store, so it can do without the tier.
            Err(error) if self.is_cached() => return Err(error),
            // Nor is it asked whether it has the log: one that is full, or only reads, may.
            Err(_) => match self.held_by(conv).await? {
                Some(holder) => return self.take_back(conv, holder).await,
                None => return Ok(()),
            },
            Ok(closed) => closed,
        };
        let Some(pending) = closed else {
            return self.seize(conv).await;
        };
        let lost = self.may_lack(&pending);
        let commit = flush_commit(&pending, Holder(0), lost);
        let answer = self.cold.commit(std::slice::from_ref(&commit)).await;
        match answer.into_iter().next() {
            Some(Ok(_)) => {
                note_lost(lost);
                self.settle(&pending, Settle::Forget).await
            }
            Some(Err(Rejected::Store(error))) if error.is_retryable() => {
                self.go_on(&pending).await?;
                Err(error)
            }
            _ => self.go_on(&pending).await,
        }
    }

    /// Whether something may be missing of what the tier had answered for.
    const fn may_lack(&self, pending: &Pending) -> bool {
        self.is_cached() && pending.is_doubtful
    }

    /// Somebody closed a log and did not come back, or the tier may have lost its end.
    pub(crate) async fn take_over(&self, conv: &ConversationId) -> Result<(), PortError> {
        match self.hot.close(conv, None).await? {
            Some(pending) => self.go_on(&pending).await,
            None => Ok(()),
        }
    }

    /// Takes a log back that the tier may have lost.
    pub(crate) async fn seize(&self, conv: &ConversationId) -> Result<(), PortError> {
        let Some(holder) = self.held_by(conv).await? else {
            return Ok(());
        };
        // Asked after the store: it was there before the store gave it away.
        match self.hot.read(conv, None).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(error) if self.is_cached() => return Err(error),
            // What was answered is in the cold store.
            Err(_) => {}
        }
        self.take_back(conv, holder).await
    }

    /// Under which number the store says that the tier has a log; `None` when it has not.
    async fn held_by(&self, conv: &ConversationId) -> Result<Option<Holder>, PortError> {
        let view = self.cold.view(conv, &[]).await?;
        let holder = view.map(|view| view.conversation.holder);
        Ok(holder.filter(|holder| *holder != Holder(0)))
    }

    /// Takes a log back, whatever the tier has of it.
    async fn take_back(&self, conv: &ConversationId, holder: Holder) -> Result<(), PortError> {
        let lost = self.is_cached();
        let commit = hold_commit(conv, holder, Holder(0), None, lost);
        let answer = self.cold.commit(&[commit]).await;
        match answer.into_iter().next() {
            Some(Ok(_)) => note_lost(lost),
            Some(Err(Rejected::Store(error))) if error.is_retryable() => return Err(error),
            // Somebody else was quicker.
            _ => {}
        }
        Ok(())
    }

    /// Makes a log hot. Whether it exists.
    pub(crate) async fn warm(&self, conv: &ConversationId) -> Result<bool, PortError> {
        let lock = hash(conv) as usize % self.warming.len();
        let _one = self.warming[lock].lock().await;
        let deadline = Instant::now() + WARM_WAIT;
        while Instant::now() < deadline {
            if self.hot.read(conv, None).await?.is_some() {
                return Ok(true);
            }
            let Some(view) = self.cold.view(conv, &[]).await? else {
                return Ok(false);
            };
            if view.conversation.holder != Holder(0) {
                self.seize(conv).await?;
            } else if self.take(view.conversation).await? {
                return Ok(true);
            }
        }
        Err(PortError::new(PortErrorKind::Unavailable))
    }

    /// Gives a free log to the tier, closed, takes it from the cold store, and opens it. False when
    /// somebody else was quicker.
    async fn take(&self, there: Conversation) -> Result<bool, PortError> {
        let conv = &there.id;
        let query = LogQuery::Before {
            seq: there.head.next(),
            limit: WARM_ENTRIES,
            bytes: WARM_BYTES,
        };
        let entries = self.cold.log(conv, query).await?;
        let to = self.new_holder();
        let first = entries.first();
        let log = Warming {
            conv: conv.clone(),
            holder: to,
            head: there.head,
            version: there.version,
            is_whole: first
                .is_none_or(|first| first.seq <= there.first_seq || self.is_forgotten(first.at)),
            entries,
        };
        if self.hot.warm(&log).await? != to {
            return Ok(true);
        }
        let commit = hold_commit(conv, Holder(0), to, Some(there.head), false);
        let answer = self.cold.commit(&[commit]).await;
        match answer.into_iter().next() {
            Some(Ok(_)) => {
                self.hot.settle(conv, to, 1, Settle::Reopen(to)).await?;
                return Ok(true);
            }
            // Whether it is the tier's now is not known: it stays closed, to be taken over.
            Some(Err(Rejected::Store(error))) if error.is_retryable() => return Err(error),
            _ => self.hot.settle(conv, to, 1, Settle::Forget).await?,
        }
        Ok(false)
    }

    /// Something came between the tiers: a flush that was refused, a log that was closed and not
    /// settled. If what the tier has goes on where the store ends, it does so under a new number,
    /// and whatever was under way under the old one comes too late. Otherwise the tier went back in
    /// time, or somebody wrote past it, and its part is void.
    pub(crate) async fn go_on(&self, pending: &Pending) -> Result<(), PortError> {
        let (conv, holder) = (&pending.conv, pending.holder);
        let Some(pending) = self.hot.close(conv, Some(holder)).await? else {
            return Ok(());
        };
        let (mut refused, lost) = (None, self.may_lack(&pending));
        for _ in 0..FENCED_TRIES {
            let Some(view) = self.cold.view(conv, &[]).await? else {
                return self.settle(&pending, Settle::Forget).await;
            };
            let there = view.conversation;
            let head = Seq(pending.run.first.0 - 1 + pending.run.entries.len() as u64);
            let seen = (there.holder, there.head);
            // Refused although nothing had changed, so it does not fit.
            if there.head > head || refused == Some(seen) {
                break;
            }
            let to = self.new_holder();
            let mut commit = hold_commit(conv, there.holder, to, Some(there.head), lost);
            if !pending.run.entries.is_empty() {
                commit.writes.push(Write::Place(pending.run.clone()));
            }
            let answer = self.cold.commit(&[commit]).await;
            match answer.into_iter().next() {
                Some(Ok(_)) => {
                    note_lost(lost);
                    return self.settle(&pending, Settle::Reopen(to)).await;
                }
                // It stays closed, for the next one.
                Some(Err(Rejected::Store(error))) if error.is_retryable() => return Err(error),
                _ => refused = Some(seen),
            }
        }
        if !self.is_cached() {
            return self.settle(&pending, Settle::Forget).await;
        }
        match self.append_anew(&pending).await? {
            Some(last) => self.settle(&last, Settle::Forget).await,
            None => Ok(()),
        }
    }

    async fn settle(&self, closed: &Pending, settle: Settle) -> Result<(), PortError> {
        let settled = self
            .hot
            .settle(&closed.conv, closed.holder, closed.closing, settle);
        settled.await
    }

    /// What was answered of a void part and is not in the store is appended there; as it stands
    /// elsewhere then, the log begins another epoch. Gives the part as it is closed last; `None`
    /// when there is none any more.
    async fn append_anew(&self, pending: &Pending) -> Result<Option<Pending>, PortError> {
        let conv = &pending.conv;
        let Some(view) = self.cold.view(conv, &[]).await? else {
            return Ok(Some(pending.clone()));
        };
        // After the store was read: somebody else may have let the log go on meanwhile, under a
        // number that the store shows, and then nothing of it is void.
        let Some(pending) = self.hot.close(conv, Some(pending.holder)).await? else {
            return Ok(None);
        };
        let query = LogQuery::After {
            seq: Seq(pending.run.first.0.saturating_sub(1)),
            limit: pending.run.entries.len(),
            bytes: usize::MAX,
        };
        let there = self.cold.log(conv, query).await?;
        let there: BTreeMap<Seq, MessageId> = there.iter().map(|it| (it.seq, it.id)).collect();
        let places = (pending.run.first.0..).map(Seq).zip(&pending.run.entries);
        let missing: Vec<_> = places
            .filter(|(seq, entry)| there.get(seq) != Some(&entry.id))
            .map(|(_, entry)| entry.clone())
            .collect();
        let holder = view.conversation.holder;
        if holder == Holder(0) && missing.is_empty() {
            return Ok(Some(pending));
        }
        let lost = !missing.is_empty() || self.may_lack(&pending);
        let mut batch = vec![hold_commit(conv, holder, Holder(0), None, lost)];
        batch.extend(missing.into_iter().map(|entry| Commit {
            conv: conv.clone(),
            expect_version: None,
            actor: None,
            writes: vec![Write::Append(entry)],
        }));
        note_lost(lost);
        done(self.cold.commit(&batch).await)?;
        Ok(Some(pending))
    }

    /// Whether ids of that time and before count no more.
    fn is_forgotten(&self, at: im_core::model::Timestamp) -> bool {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let now = now.map_or(0, |now| now.as_millis() as i64);
        now.saturating_sub(at.0) > self.options.dedupe.as_millis() as i64
    }
}

/// What brings a log's pending part to the cold store, and says who has the log then, and whether
/// something of it is lost.
pub(crate) fn flush_commit(pending: &Pending, to: Holder, lost: bool) -> Commit {
    let mut writes = vec![Write::Hold(Hold {
        from: pending.holder,
        to,
        head: None,
        lost,
    })];
    if !pending.run.entries.is_empty() {
        writes.push(Write::Place(pending.run.clone()));
    }
    writes.extend(pending.cursors.iter().cloned().map(Write::Cursor));
    Commit {
        conv: pending.conv.clone(),
        expect_version: None,
        actor: None,
        writes,
    }
}

fn hold_commit(
    conv: &ConversationId,
    from: Holder,
    to: Holder,
    head: Option<Seq>,
    lost: bool,
) -> Commit {
    Commit {
        conv: conv.clone(),
        expect_version: None,
        actor: None,
        writes: vec![Write::Hold(Hold {
            from,
            to,
            head,
            lost,
        })],
    }
}

/// Whether all of a batch came to the store, or are there already.
fn done<T>(answers: Vec<Result<T, Rejected>>) -> Result<(), PortError> {
    for answer in answers {
        match answer {
            Ok(_) | Err(Rejected::CmIdReused | Rejected::Conflict) => {}
            Err(Rejected::Store(error)) => return Err(error),
            Err(_) => return Err(PortError::new(PortErrorKind::Internal)),
        }
    }
    Ok(())
}

fn note_lost(lost: bool) {
    if lost {
        metrics::counter!("im_hot_lost_total").increment(1);
        tracing::warn!("the hot tier lost the end of a log; the log begins another epoch");
    }
}
