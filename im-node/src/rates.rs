//! How often anybody may ask: a bucket for each user, device and key, and each kind of request.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use im_core::frame::{ErrorCode, Failure};
use im_core::machine::Bucket;
use im_core::model::{DeviceId, UserId};
use parking_lot::Mutex;

use crate::keys::ApiKey;
use crate::node::{Inner, Node};
use crate::service::{METHODS, Method, Verb};

/// With so many buckets those that are full are forgotten: that changes nothing.
const BUCKETS_SWEEP: usize = 10_000;
/// With so many that are not full, whoever has none is told to come back: half a million requests
/// were made within a minute.
const BUCKETS_MAX: usize = 100_000;
/// When to come back then.
const FULL_WAIT: Duration = Duration::from_secs(1);

/// How often each user may ask. A device of theirs may half as often, so that one that runs wild
/// leaves room for the others; a key as often as a user. Sends have a limit of their own,
/// [`Limits::sends_per_s`](im_core::frame::Limits). For a moment, twice a second's worth is taken;
/// of what is counted by the minute, a minute's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Requests that read, a second.
    pub reads_per_s: u32,
    /// Requests that write, a second.
    pub writes_per_s: u32,
    /// Searches, a second.
    pub searches_per_s: u32,
    /// Uploads begun, a second.
    pub uploads_per_s: u32,
    /// Requests that reach others unasked, a minute: to be friends, into a group, reports.
    pub asks_per_minute: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            reads_per_s: 200,
            writes_per_s: 100,
            searches_per_s: 20,
            uploads_per_s: 20,
            asks_per_minute: 120,
        }
    }
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Ask,
    Read,
    Search,
    Send,
    Upload,
    Write,
}

/// What reaches others unasked, beside whatever asks or joins.
const ASKS: [&str; 2] = ["groups.add", "reports.add"];
/// What begins an upload.
const UPLOADS: [&str; 1] = ["media.create"];

impl Class {
    pub(crate) fn of(method: &Method) -> Self {
        let name = method.name;
        match name.rsplit_once('.').map_or(name, |(_, verb)| verb) {
            _ if name == "messages.send" => Self::Send,
            "ask" | "join" => Self::Ask,
            _ if ASKS.contains(&name) => Self::Ask,
            "search" => Self::Search,
            _ if UPLOADS.contains(&name) => Self::Upload,
            _ if method.verb() == Some(Verb::Get) => Self::Read,
            _ => Self::Write,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    User(UserId),
    Device(UserId, DeviceId),
    Key(String),
}

/// The buckets.
#[derive(Debug)]
pub(crate) struct Buckets {
    rates: Rates,
    sends_per_s: u32,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    buckets: BTreeMap<(Who, Class), Bucket>,
    /// Looked through at so many.
    sweep_at: usize,
    swept: Option<Instant>,
}

impl Kept {
    /// Forgets those that are full; so seldom that it costs little a bucket.
    fn make_room(&mut self, now: Instant) {
        let is_early = |swept| now.saturating_duration_since(swept) < FULL_WAIT;
        if self.buckets.len() < self.sweep_at.max(BUCKETS_SWEEP)
            || (self.buckets.len() >= BUCKETS_MAX && self.swept.is_some_and(is_early))
        {
            return;
        }
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        self.sweep_at = (2 * self.buckets.len()).min(BUCKETS_MAX);
        self.swept = Some(now);
    }
}

impl Buckets {
    pub(crate) fn new(rates: Rates, sends_per_s: u32) -> Self {
        Self {
            rates,
            sends_per_s,
            kept: Mutex::default(),
        }
    }

    /// A user asks, by a device if it is known. Sends are counted elsewhere.
    ///
    /// # Errors
    /// When they do too often.
    pub(crate) fn take(
        &self,
        now: Instant,
        user: &UserId,
        device: Option<&DeviceId>,
        class: Class,
    ) -> Result<(), Failure> {
        if class == Class::Send {
            return Ok(());
        }
        if let Some(device) = device {
            let who = Who::Device(user.clone(), device.clone());
            self.take_one(now, who, class, 2)?;
        }
        self.take_one(now, Who::User(user.clone()), class, 1)
    }

    /// A key asks.
    ///
    /// # Errors
    /// When it does too often.
    pub(crate) fn take_key(&self, now: Instant, id: &str, class: Class) -> Result<(), Failure> {
        self.take_one(now, Who::Key(id.to_owned()), class, 1)
    }

    fn take_one(&self, now: Instant, who: Who, class: Class, part: u32) -> Result<(), Failure> {
        let mut kept = self.kept.lock();
        let key = (who, class);
        let taken = match kept.buckets.get_mut(&key) {
            Some(bucket) => bucket.take(now),
            None => {
                kept.make_room(now);
                if kept.buckets.len() >= BUCKETS_MAX {
                    Err(FULL_WAIT)
                } else {
                    let mut bucket = self.fresh(now, class, part);
                    let taken = bucket.take(now);
                    kept.buckets.insert(key, bucket);
                    taken
                }
            }
        };
        taken.map_err(|wait| {
            metrics::counter!("im_rate_limited_total").increment(1);
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            Failure::retry(ErrorCode::RateLimited, "too many requests", ms)
        })
    }

    fn fresh(&self, now: Instant, class: Class, part: u32) -> Bucket {
        let rate = |rate: u32| (rate / part).max(1);
        let rates = &self.rates;
        match class {
            Class::Ask => Bucket::per_minute(now, rate(rates.asks_per_minute)),
            Class::Read => Bucket::new(now, rate(rates.reads_per_s)),
            Class::Search => Bucket::new(now, rate(rates.searches_per_s)),
            Class::Send => Bucket::new(now, rate(self.sends_per_s)),
            Class::Upload => Bucket::new(now, rate(rates.uploads_per_s)),
            Class::Write => Bucket::new(now, rate(rates.writes_per_s)),
        }
    }
}

impl Inner {
    /// A user calls a method. One that has no row costs as a read.
    ///
    /// # Errors
    /// When they call too often.
    pub(crate) fn admit(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
        method: &str,
    ) -> Result<(), Failure> {
        let method = METHODS.iter().find(|known| known.name == method);
        let class = method.map_or(Class::Read, Class::of);
        self.buckets.take(self.clock.now(), user, device, class)
    }
}

impl Node {
    /// A transport is about to call a method for a user, or for who has a key: whether that is not
    /// too often. Calls on a connection are counted by the node itself, and what the host program
    /// calls is not counted.
    ///
    /// # Errors
    /// With `retry_after_ms`, when it is.
    pub fn admit(
        &self,
        user: &UserId,
        key: Option<&ApiKey>,
        method: &Method,
    ) -> Result<(), Failure> {
        let (inner, class) = (&self.inner, Class::of(method));
        let now = inner.clock.now();
        match key {
            Some(key) => inner.buckets.take_key(now, &key.id, class),
            None => inner.buckets.take(now, user, None, class),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn user(n: usize) -> UserId {
        UserId::new(format!("u{n}")).unwrap()
    }

    fn class(name: &str) -> Class {
        Class::of(METHODS.iter().find(|method| method.name == name).unwrap())
    }

    fn taken(mut take: impl FnMut() -> Result<(), Failure>) -> usize {
        (0..10_000).take_while(|_| take().is_ok()).count()
    }

    #[test]
    fn methods_have_the_class_that_they_look_like() {
        for (name, expected) in [
            ("conv.entries", Class::Read),
            ("drafts.set", Class::Write),
            ("friends.ask", Class::Ask),
            ("groups.add", Class::Ask),
            ("groups.join", Class::Ask),
            ("messages.search", Class::Search),
            ("messages.send", Class::Send),
            ("presence.watch", Class::Write),
            ("reports.add", Class::Ask),
        ] {
            assert_eq!(class(name), expected, "{name}");
        }
    }

    #[test]
    fn what_has_a_rate_of_its_own_is_a_method() {
        let theme = |name: &str| name.split_once('.').unwrap().0.to_owned();
        let themes: BTreeSet<_> = METHODS.iter().map(|method| theme(method.name)).collect();
        for name in ASKS.iter().chain(&UPLOADS) {
            // Unless nothing of its kind is built in.
            let is_there = METHODS.iter().any(|method| method.name == *name);
            assert!(is_there || !themes.contains(&theme(name)), "{name}");
        }
        for verb in [".ask", ".join", ".search"] {
            let is_there = METHODS.iter().any(|method| method.name.ends_with(verb));
            assert!(is_there, "{verb}");
        }
    }

    #[test]
    fn each_user_device_and_key_has_buckets_of_their_own() {
        let buckets = Buckets::new(Rates::default(), 50);
        let now = Instant::now();
        let device = |id: &str| DeviceId::new(id).unwrap();
        let (a, b) = (device("a"), device("b"));
        // A device has half of the user's, the user twice that, and another user is untouched.
        assert_eq!(
            taken(|| buckets.take(now, &user(1), Some(&a), Class::Read)),
            200
        );
        assert_eq!(
            taken(|| buckets.take(now, &user(1), Some(&b), Class::Read)),
            200
        );
        let refused = buckets.take(now, &user(1), None, Class::Read).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimited);
        assert!(
            refused
                .retry_after_ms
                .is_some_and(|ms| (1..=10).contains(&ms))
        );
        assert!(buckets.take(now, &user(1), Some(&a), Class::Write).is_ok());
        assert_eq!(
            taken(|| buckets.take(now, &user(2), None, Class::Read)),
            400
        );
        assert_eq!(taken(|| buckets.take_key(now, "k", Class::Send)), 100);
        assert_eq!(taken(|| buckets.take(now, &user(1), None, Class::Ask)), 120);
    }

    #[test]
    fn a_flood_of_users_takes_bounded_memory_and_is_forgotten() {
        let buckets = Buckets::new(Rates::default(), 50);
        let now = Instant::now();
        let passed = (0..BUCKETS_MAX + 100)
            .filter(|n| buckets.take(now, &user(*n), None, Class::Read).is_ok())
            .count();
        assert_eq!(passed, BUCKETS_MAX);
        let later = now + Duration::from_secs(3);
        assert!(buckets.take(later, &user(0), None, Class::Read).is_ok());
        assert!(
            buckets
                .take(later, &user(BUCKETS_MAX + 500), None, Class::Read)
                .is_ok()
        );
        assert!(buckets.kept.lock().buckets.len() <= 2);
    }
}
