//! What a follower decides: which conversations it tries now, and when it gives up. No IO, no
//! clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use im_core::machine::Backoff;
use im_core::model::ConversationId;

use super::{Failed, FollowSettings};

/// Conversations looked at in one turn.
pub(super) const PAGE: usize = 100;
/// Conversations that wait; beyond it nothing new is looked at. What comes stays in the log.
pub(super) const WAITING_MAX: usize = 10_000;
/// When so many conversations failed in a row, and none was taken, the sink is down: it is only
/// tried now and then, with one conversation or two.
const DOWN_AFTER: usize = 4;
/// The waits of a sink that is down.
const DOWN: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(300));

/// What becomes of an entry that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again, after so many failures.
    Wait(u32),
    /// It is a dead letter; its conversation goes on.
    GiveUp,
}

#[derive(Debug)]
struct Waiting {
    fails: u32,
    next: Instant,
    /// What had been taken in all when it began to wait.
    began: u64,
}

/// What waits, and how the sink does.
#[derive(Debug)]
pub(super) struct Book {
    backoff: Backoff,
    give_up: u32,
    waiting: BTreeMap<ConversationId, Waiting>,
    /// Those that failed since anything was taken.
    failing: BTreeSet<ConversationId>,
    taken: u64,
    probes: u32,
    probe_at: Option<Instant>,
    rng: fastrand::Rng,
}

impl Book {
    pub(super) fn new(settings: &FollowSettings, seed: u64) -> Self {
        Self {
            backoff: settings.backoff,
            give_up: settings.give_up,
            waiting: BTreeMap::new(),
            failing: BTreeSet::new(),
            taken: 0,
            probes: 0,
            probe_at: None,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// What the store says waits; what is known already stays as it is.
    pub(super) fn handle_waiting(&mut self, now: Instant, conv: ConversationId, fails: u32) {
        let began = self.taken;
        self.waiting.entry(conv).or_insert(Waiting {
            fails,
            next: now,
            began,
        });
    }

    /// Entries of a conversation were taken.
    pub(super) fn handle_taken(&mut self, now: Instant, conv: &ConversationId) {
        self.taken += 1;
        if let Some(waiting) = self.waiting.get_mut(conv) {
            // Its head is another one.
            (waiting.fails, waiting.began) = (0, self.taken);
        }
        if self.is_down() {
            for waiting in self.waiting.values_mut() {
                waiting.next = now;
            }
        }
        self.failing.clear();
        (self.probes, self.probe_at) = (0, None);
    }

    /// A conversation's next entry was not taken.
    pub(super) fn handle_failed(
        &mut self,
        now: Instant,
        conv: &ConversationId,
        failed: &Failed,
    ) -> Verdict {
        self.failing.insert(conv.clone());
        if self.is_down() && self.probe_at.is_none_or(|at| at <= now) {
            let wait = DOWN.delay(self.probes, &mut self.rng);
            self.probes += 1;
            self.probe_at = Some(now + wait.max(failed.after.unwrap_or_default()));
        }
        let began = self.taken;
        let waiting = self.waiting.entry(conv.clone()).or_insert(Waiting {
            fails: 0,
            next: now,
            began,
        });
        let wait = self.backoff.delay(waiting.fails, &mut self.rng);
        waiting.fails = waiting.fails.saturating_add(1);
        waiting.next = now + wait.max(failed.after.unwrap_or_default());
        let others = self.taken > waiting.began;
        if waiting.fails >= self.give_up && (failed.refused || others) {
            (waiting.fails, waiting.next) = (0, now);
            return Verdict::GiveUp;
        }
        Verdict::Wait(waiting.fails)
    }

    /// An entry would have been given up, but there are too many dead letters.
    pub(super) fn handle_crowded(&mut self, now: Instant, conv: &ConversationId) {
        if let Some(waiting) = self.waiting.get_mut(conv) {
            waiting.next = now + self.backoff.max;
        }
    }

    /// A conversation goes on in a later turn, so that others have theirs.
    pub(super) fn handle_more(&mut self, now: Instant, conv: &ConversationId) {
        self.handle_waiting(now, conv.clone(), 0);
        if let Some(waiting) = self.waiting.get_mut(conv) {
            waiting.next = now;
        }
    }

    /// A conversation has been told everything.
    pub(super) fn handle_done(&mut self, conv: &ConversationId) {
        self.waiting.remove(conv);
    }

    pub(super) fn is_waiting(&self, conv: &ConversationId) -> bool {
        self.waiting.contains_key(conv)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn is_down(&self) -> bool {
        self.failing.len() >= DOWN_AFTER
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.is_down() && self.probe_at.is_some_and(|at| at > now)
    }

    /// Those whose time has come, the earliest first. When the sink is down, one that would come
    /// next, when it is time to probe.
    pub(super) fn due(&self, now: Instant) -> Vec<ConversationId> {
        if self.is_resting(now) {
            return Vec::new();
        }
        let most = if self.is_down() { 1 } else { PAGE };
        let due = self.waiting.iter();
        let mut due: Vec<_> = due
            .filter(|(_, waiting)| waiting.next <= now || self.is_down())
            .map(|(conv, waiting)| (waiting.next, conv))
            .collect();
        due.sort_unstable();
        due.truncate(most);
        due.into_iter().map(|(_, conv)| conv.clone()).collect()
    }

    /// How many conversations may be looked at anew.
    pub(super) fn room(&self, now: Instant) -> usize {
        if self.is_resting(now) || self.waiting.len() >= WAITING_MAX {
            return 0;
        }
        // One that is new may be taken although those that wait are not.
        if self.is_down() { 1 } else { PAGE }
    }

    /// How long until there is something to do that is known now; `every` at most.
    pub(super) fn wait(&self, now: Instant, every: Duration) -> Duration {
        if self.is_resting(now) {
            return every;
        }
        let next = self.waiting.values().map(|waiting| waiting.next).min();
        next.map_or(every, |next| next.saturating_duration_since(now).min(every))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv(n: usize) -> ConversationId {
        ConversationId::new(format!("c{n}")).unwrap()
    }

    fn book() -> Book {
        Book::new(&FollowSettings::default(), 1)
    }

    fn failed(refused: bool) -> Failed {
        Failed {
            why: "HTTP 500".to_owned(),
            after: None,
            refused,
        }
    }

    /// A day of nothing but errors: few attempts, nothing given up, and all go on at once after it.
    #[test]
    fn a_sink_that_is_down_is_tried_now_and_then_and_nothing_is_given_up() {
        let start = Instant::now();
        let (mut book, mut now, mut tries, mut looked) = (book(), start, 0, 0);
        let every = Duration::from_millis(500);
        while now < start + Duration::from_secs(86_400) {
            let room = book.room(now).min(3);
            for conv in book.due(now) {
                tries += 1;
                let verdict = book.handle_failed(now, &conv, &failed(false));
                assert!(matches!(verdict, Verdict::Wait(_)));
            }
            for _ in 0..room {
                looked += 1;
                book.handle_failed(now, &conv(looked), &failed(false));
            }
            now += book.wait(now, every).max(Duration::from_millis(1));
        }
        // One in three to five minutes.
        assert!((250..1_000).contains(&tries), "{tries}");
        assert!((250..1_000).contains(&looked), "{looked}");
        assert!(book.due(now).len() <= 1);
        book.handle_taken(now, &conv(1));
        assert_eq!(book.due(now).len(), PAGE.min(book.len()));
        assert_eq!(book.room(now), PAGE);
    }

    #[test]
    fn an_entry_is_given_up_when_others_are_taken() {
        let (mut book, now) = (book(), Instant::now());
        let mut verdicts = (0..150).map(|_| {
            book.handle_taken(now, &conv(2));
            book.handle_failed(now, &conv(1), &failed(false))
        });
        assert_eq!(
            verdicts.position(|verdict| verdict == Verdict::GiveUp),
            Some(99)
        );
    }

    #[test]
    fn an_entry_that_is_refused_is_given_up_and_one_that_fails_alone_is_not() {
        let now = Instant::now();
        for refused in [true, false] {
            let mut book = book();
            let mut verdicts =
                (0..200).map(|_| book.handle_failed(now, &conv(1), &failed(refused)));
            let given_up = verdicts.any(|verdict| verdict == Verdict::GiveUp);
            assert_eq!(given_up, refused);
        }
    }

    #[test]
    fn one_that_waits_does_not_keep_the_others() {
        let (mut book, now) = (book(), Instant::now());
        book.handle_failed(now, &conv(1), &failed(true));
        assert!(book.is_waiting(&conv(1)));
        assert_eq!(book.room(now), PAGE);
        assert!(book.due(now).is_empty());
        let later = now + Duration::from_secs(5);
        assert_eq!(book.due(later), [conv(1)]);
        book.handle_done(&conv(1));
        assert!(book.due(later).is_empty());
    }

    #[test]
    fn a_wait_that_was_asked_for_is_kept() {
        let (mut book, now) = (book(), Instant::now());
        let after = Some(Duration::from_secs(60));
        book.handle_failed(
            now,
            &conv(1),
            &Failed {
                after,
                ..failed(false)
            },
        );
        assert!(book.due(now + Duration::from_secs(59)).is_empty());
        assert_eq!(book.due(now + Duration::from_secs(60)), [conv(1)]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut book, now) = (book(), Instant::now());
        for n in 0..WAITING_MAX {
            book.handle_waiting(now, conv(n), 1);
        }
        assert_eq!(book.room(now), 0);
        assert_eq!(book.due(now).len(), PAGE);
    }
}
