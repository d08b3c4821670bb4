//! Slots: what a store over several databases is divided into.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::conversation::direct_id;
use super::id::{ConversationId, UserId};

/// A part of the conversations of a store, a number below [`Slot::COUNT`]. A database holds whole
/// slots, and a slot moves as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// How many there are, for good: what is stored is found by it.
    pub const COUNT: u16 = 1_024;

    /// The slot of that number, below [`Self::COUNT`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The slot of a conversation: the first two bytes of the SHA-256 of its id, the higher first,
    /// modulo [`Self::COUNT`]. Databases can compute it too.
    #[must_use]
    pub fn of(conv: &ConversationId) -> Self {
        let hash = Sha256::digest(conv.as_str().as_bytes());
        Self(u16::from_be_bytes([hash[0], hash[1]]) % Self::COUNT)
    }

    /// Where it is kept whether one user blocks another: with their direct conversation.
    #[must_use]
    pub fn of_block(user: &UserId, other: &UserId) -> Self {
        Self::of(&direct_id(user, other))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_has_its_slot_for_good() {
        // sha256("g") begins with cd0a.
        let table = [("g", 0xcd0a % 1_024), ("abc", 0xba78 % 1_024)];
        for (id, expected) in table {
            let conv = ConversationId::new(id).unwrap();
            assert_eq!(Slot::of(&conv).number(), expected, "{id}");
        }
    }

    #[test]
    fn slots_are_filled_evenly() {
        let mut counts = vec![0_u32; Slot::COUNT.into()];
        for n in 0..102_400 {
            let conv = ConversationId::new(format!("g-{n}")).unwrap();
            counts[usize::from(Slot::of(&conv).number())] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)));
    }
}
