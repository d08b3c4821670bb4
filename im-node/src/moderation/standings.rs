//! Who is banned, muted everywhere, or known as staff.

use std::collections::BTreeMap;

use im_core::model::{Fact, FactKey, FactTable, Timestamp, UserId, Value};
use im_core::rule::Staff;

/// The three parts, as they are owners of facts.
pub(super) const PARTS: [&str; 3] = ["ban", "mute", "staff"];

/// Where it stands that a user is banned (`ban`), muted (`mute`) or known as staff (`staff`).
pub(crate) fn standing_key(part: &str, user: &UserId) -> FactKey {
    FactKey::new(FactTable::Standing, part, user.as_str())
}

/// Everybody of whom something is known.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    /// Which state of the list it was made of.
    pub(super) version: Option<String>,
    of: BTreeMap<UserId, Held>,
}

/// What is known of a user; each until a time.
#[derive(Debug, Default)]
struct Held {
    banned: Option<Timestamp>,
    muted: Option<Timestamp>,
    staff: Option<(Staff, Timestamp)>,
}

impl Standings {
    /// Nobody yet, for that state of the list.
    pub(super) const fn of(version: Option<String>) -> Self {
        Self {
            version,
            of: BTreeMap::new(),
        }
    }

    /// Adds what a fact says.
    pub(super) fn learn(&mut self, fact: &Fact) {
        let Ok(user) = UserId::new(fact.key.key.as_str()) else {
            return;
        };
        // What has no end lasts for ever.
        let until = fact.at.unwrap_or(Timestamp(i64::MAX));
        let held = self.of.entry(user).or_default();
        match fact.key.owner.as_str() {
            "ban" => held.banned = Some(until),
            "mute" => held.muted = Some(until),
            _ => held.staff = Some((roles(&fact.value), until)),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    pub(crate) fn is_banned(&self, user: &UserId, now: Timestamp) -> bool {
        let held = self.of.get(user).and_then(|held| held.banned);
        held.is_some_and(|until| until > now)
    }

    pub(crate) fn muted_until(&self, user: &UserId, now: Timestamp) -> Option<Timestamp> {
        let held = self.of.get(user).and_then(|held| held.muted);
        held.filter(|until| *until > now)
    }

    /// The roles that a user's tokens had of late, and until when that is remembered.
    pub(crate) fn staff(&self, user: &UserId, now: Timestamp) -> Option<(Staff, Timestamp)> {
        let held = self.of.get(user).and_then(|held| held.staff);
        held.filter(|(_, until)| *until > now)
    }

    /// Everybody who is banned.
    pub(super) fn banned(&self, now: Timestamp) -> impl Iterator<Item = &UserId> {
        let is_banned = move |held: &Held| held.banned.is_some_and(|until| until > now);
        let all = self.of.iter();
        all.filter(move |(_, held)| is_banned(held))
            .map(|(user, _)| user)
    }
}

fn roles(value: &str) -> Staff {
    let value = Value::from_json(value).unwrap_or(Value::Null);
    match value.get("roles") {
        Some(Value::Array(names)) => Staff::of(names.iter().filter_map(Value::as_text)),
        _ => Staff::NONE,
    }
}
