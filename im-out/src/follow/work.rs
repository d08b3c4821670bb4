//! Following: what is new is told, what can't be told waits where the next one finds it.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use im_core::model::{ConversationId, ConversationKind, Entry, Epoch, Seq, Timestamp};
use im_core::port::{LogQuery, PortError, Put, Was};
use parking_lot::Mutex;

use super::admin;
use super::book::{Book, Verdict, WAITING_MAX};
use super::keep::{Cursor, Known, Place};
use super::lease::{Held, Lost};
use super::{Failed, Follower};

/// Entries of a conversation that are read at once.
const RUN: usize = 32;
/// The most bytes of them.
const RUN_BYTES: usize = 256 * 1_024;
/// So many runs of a conversation are told before others have their turn.
const RUNS_MAX: usize = 8;
/// A conversation of which nothing was told yet begins with what was said so long before the
/// follower began: nodes' clocks differ.
const BEGIN_MS: i64 = 10 * 60 * 1_000;
/// A log that lost its end (a hot tier that died) is told again from so many entries before.
const EPOCH_BACK: u64 = 1_000;
/// How often it is looked which conversations wait: somebody may have set one back.
const RELOAD: Duration = Duration::from_secs(10);

/// What a turn works on.
#[derive(Debug)]
struct Work {
    held: tokio::sync::Mutex<Held>,
    book: Mutex<Book>,
    since: Timestamp,
}

impl Follower {
    /// Follows until the lease is lost, or the store fails.
    pub(super) async fn work(&self, held: Held, book: Book) -> Lost {
        let work = Work {
            since: held.cursor.since,
            held: tokio::sync::Mutex::new(held),
            book: Mutex::new(book),
        };
        let ended: Result<Infallible, Lost> = tokio::select! {
            ended = self.turns(&work) => ended,
            ended = self.beats(&work) => ended,
        };
        match ended {
            Ok(never) => match never {},
            Err(lost) => lost,
        }
    }

    /// Signs of life.
    async fn beats(&self, work: &Work) -> Result<Infallible, Lost> {
        loop {
            tokio::time::sleep(self.settings.lease / 3).await;
            let mut held = work.held.lock().await;
            let cursor = Cursor {
                beat: held.cursor.beat + 1,
                ..held.cursor.clone()
            };
            self.write(&mut held, cursor).await?;
        }
    }

    async fn turns(&self, work: &Work) -> Result<Infallible, Lost> {
        let mut loaded: Option<Instant> = None;
        loop {
            let now = self.clock.now();
            if loaded.is_none_or(|at| now.saturating_duration_since(at) >= RELOAD) {
                for (conv, fails) in self.keep.waiting(WAITING_MAX).await? {
                    work.book.lock().handle_waiting(now, conv, fails);
                }
                loaded = Some(now);
            }
            // Both before anything is tried: a sink that is down is tried with one of each.
            let (due, room) = {
                let book = work.book.lock();
                (book.due(now), book.room(now))
            };
            self.tell_all(work, due).await?;
            let more = room > 0 && self.look(work, room).await?;
            let (wait, waiting) = {
                let (book, now) = (work.book.lock(), self.clock.now());
                (book.wait(now, self.settings.every), book.len())
            };
            let name = self.keep.name().to_owned();
            metrics::gauge!("im_out_waiting", "to" => name).set(waiting as f64);
            if !more {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Tells what changed; then the cursor goes on. True when there is more.
    async fn look(&self, work: &Work, room: usize) -> Result<bool, Lost> {
        let stamps = work.held.lock().await.cursor.stamps.clone();
        let changed = self.keep.store.changed(&stamps, room).await?;
        let fresh = {
            let book = work.book.lock();
            let convs = changed.convs.into_iter().map(|changed| changed.conv);
            convs.filter(|conv| !book.is_waiting(conv)).collect()
        };
        self.tell_all(work, fresh).await?;
        if changed.stamps != stamps {
            // All of them have been told, or wait in the store.
            let mut held = work.held.lock().await;
            let cursor = Cursor {
                stamps: changed.stamps,
                ..held.cursor.clone()
            };
            self.write(&mut held, cursor).await?;
        }
        Ok(changed.more)
    }

    async fn tell_all(&self, work: &Work, convs: Vec<ConversationId>) -> Result<(), Lost> {
        let mut told = stream::iter(convs)
            .map(|conv| async move { self.tell(work, &conv).await })
            .buffer_unordered(self.settings.concurrency.max(1));
        while let Some(told) = told.next().await {
            told?;
        }
        Ok(())
    }

    /// Tells a conversation's entries from its place on, until there are no more, one is not
    /// taken, or others must have their turn.
    async fn tell(&self, work: &Work, conv: &ConversationId) -> Result<(), Lost> {
        let Some((mut known, mut place)) = self.begin(work, conv).await? else {
            return self.done(work, conv, &None).await;
        };
        for _ in 0..RUNS_MAX {
            let run = self.run_after(conv, place.seq).await?;
            if run.is_empty() {
                return self.done(work, conv, &known).await;
            }
            let taken = self.sink.take(&run).await;
            let count = taken.count.min(run.len());
            if let Some(last) = run[..count].last() {
                place.seq = last.seq;
                let put = self.keep.place_put(conv, &known, place);
                known = self.save(vec![put], place).await?;
                work.book.lock().handle_taken(self.clock.now(), conv);
            }
            if let (Some(failed), Some(head)) = (taken.failed, run.get(count)) {
                let now = self.clock.now();
                let verdict = work.book.lock().handle_failed(now, conv, &failed);
                let fails = match verdict {
                    Verdict::Wait(fails) => fails,
                    Verdict::GiveUp if self.has_room_for_dead().await? => {
                        place.seq = head.seq;
                        known = self.bury(conv, &known, place, &failed).await?;
                        continue;
                    }
                    Verdict::GiveUp => {
                        work.book.lock().handle_crowded(now, conv);
                        1
                    }
                };
                tracing::debug!(to = self.keep.name(), why = failed.why, "not taken");
                return Ok(self.keep.wait(conv, fails).await?);
            }
        }
        self.keep.wait(conv, 0).await?;
        work.book.lock().handle_more(self.clock.now(), conv);
        Ok(())
    }

    /// A conversation has been told everything.
    async fn done(&self, work: &Work, conv: &ConversationId, known: &Known) -> Result<(), Lost> {
        if !work.book.lock().is_waiting(conv) {
            return Ok(());
        }
        self.keep.waits_not(conv).await?;
        work.book.lock().handle_done(conv);
        if known.is_some() && self.keep.place(conv).await? != *known {
            // Somebody set it back meanwhile, and what said so is gone now.
            self.keep.wait(conv, 0).await?;
            work.book.lock().handle_more(self.clock.now(), conv);
        }
        Ok(())
    }

    async fn save(&self, puts: Vec<Put>, place: Place) -> Result<Known, Lost> {
        if !self.keep.put(puts).await? {
            return Err(Lost::Taken);
        }
        Ok(Some((place, place.to_json())))
    }

    async fn has_room_for_dead(&self) -> Result<bool, PortError> {
        let dead = admin::dead_of(&self.keep, admin::DEAD_MAX).await?;
        Ok(dead.len() < admin::DEAD_MAX)
    }

    /// An entry is given up: that and the place after it are one commit.
    async fn bury(
        &self,
        conv: &ConversationId,
        known: &Known,
        place: Place,
        failed: &Failed,
    ) -> Result<Known, Lost> {
        tracing::warn!(
            to = self.keep.name(),
            why = failed.why,
            "an entry is given up"
        );
        metrics::counter!("im_out_dead_total").increment(1);
        let why = im_core::model::Value::from(failed.why.as_str()).to_json();
        let dead = Put {
            key: self.keep.dead_key(conv, place.seq),
            to: Some((why, Some(self.clock.timestamp()))),
            was: Was::Any,
        };
        let place_put = self.keep.place_put(conv, known, place);
        self.save(vec![place_put, dead], place).await
    }

    async fn run_after(&self, conv: &ConversationId, seq: Seq) -> Result<Vec<Entry>, PortError> {
        let query = LogQuery::After {
            seq,
            limit: RUN,
            bytes: RUN_BYTES,
        };
        self.keep.store.log(conv, query).await
    }

    /// From where on a conversation is to be told; `None` when it is no more, or not for others.
    async fn begin(
        &self,
        work: &Work,
        conv: &ConversationId,
    ) -> Result<Option<(Known, Place)>, Lost> {
        let known = self.keep.place(conv).await?;
        let Some(view) = self.keep.store.view(conv, &[]).await? else {
            return Ok(None);
        };
        // What the staff did is nobody's outside.
        if view.conversation.kind == ConversationKind::Audit {
            return Ok(None);
        }
        let epoch: Epoch = view.conversation.epoch;
        let seq = match &known {
            Some((place, _)) if place.epoch == epoch => place.seq,
            Some((place, _)) => Seq(place.seq.0.saturating_sub(EPOCH_BACK)),
            None => {
                let since = Timestamp(work.since.0.saturating_sub(BEGIN_MS));
                self.before(conv, view.conversation.head, since).await?
            }
        };
        let place = Place { seq, epoch };
        if known.is_some() {
            return Ok(Some((known, place)));
        }
        // Written before anything is told: times are looked at once, for a clock may jump while
        // the first entry is not taken.
        let put = self.keep.place_put(conv, &known, place);
        Ok(Some((self.save(vec![put], place).await?, place)))
    }

    /// The last entry that is older than that.
    async fn before(
        &self,
        conv: &ConversationId,
        head: Seq,
        since: Timestamp,
    ) -> Result<Seq, PortError> {
        let mut below = head.next();
        loop {
            let query = LogQuery::Before {
                seq: below,
                limit: RUN,
                bytes: RUN_BYTES,
            };
            let run = self.keep.store.log(conv, query).await?;
            let Some(first) = run.first() else {
                return Ok(Seq(0));
            };
            if let Some(older) = run.iter().rev().find(|entry| entry.at < since) {
                return Ok(older.seq);
            }
            below = first.seq;
        }
    }
}
