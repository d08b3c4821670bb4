//! Ids are newtypes: text ids are compared byte by byte, numbers never travel bare.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// It has no character.
    #[error("is empty")]
    Empty,
    /// It has more characters than the id may have.
    #[error("has more than {0} characters")]
    TooLong(usize),
    /// It has a control character.
    #[error("has a control character")]
    Control,
}

fn check(text: &str, chars_max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    // A text of few bytes has few characters: the count is only taken when it could matter.
    if text.len() > chars_max && text.chars().count() > chars_max {
        return Err(IdError::TooLong(chars_max));
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::Control);
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $chars_max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most characters (Unicode scalar values) that it may have.
            pub const CHARS_MAX: usize = $chars_max;

            /// Checks and takes a text.
            ///
            /// # Errors
            /// When it is empty, longer than [`Self::CHARS_MAX`], or has a control character.
            pub fn new(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, IdError> {
                check(text.as_ref(), Self::CHARS_MAX)?;
                Ok(Self(text.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&$name> for Arc<str> {
            fn from(id: &$name) -> Self {
                Self::clone(&id.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = Arc::<str>::deserialize(from)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// Who: the embedder's own id of a user, 1–128 characters.
    UserId, 128
);
text_id!(
    /// One of a user's devices, 1–64 characters, chosen by the client and kept by it.
    DeviceId, 64
);
text_id!(
    /// A conversation, 1–128 characters. Of a direct one it is a function of the two users.
    ConversationId, 128
);
text_id!(
    /// The client's own id of a message, 1–64 characters: the key that makes a retry harmless.
    CmId, 64
);
text_id!(
    /// The name of a node: one running process of the library.
    NodeId, 64
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $of:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $of);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The place of an entry in its conversation's log: from 1, without a gap, below 2^53.
    /// 0 stands for "before the first".
    Seq, u64
);
number!(
    /// The number of a log's life. It grows when the log lost entries that somebody may have
    /// seen, and a client that meets another one drops its copy.
    Epoch, u64
);
number!(
    /// Milliseconds since the Unix epoch by a server's clock. Never an order: that is [`Seq`].
    Timestamp, i64
);
number!(
    /// A point in one database's order of changes: what `sync` tokens and the sweep count by.
    /// See [`Stamps`](super::Stamps).
    Stamp, u64
);
number!(
    /// Who holds a conversation's log: 0 stands for nobody, any other number for one life of it in
    /// a hot tier. Below 2^63.
    Holder, u64
);
number!(
    /// A connection, unique within its node's life.
    ConnectionId, u64
);

impl Seq {
    /// The next place.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Timestamp {
    /// This time, `ms` milliseconds later; saturates.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        let ms = if ms > i64::MAX as u64 {
            i64::MAX
        } else {
            ms as i64
        };
        Self(self.0.saturating_add(ms))
    }
}

/// A message's own id: 64 bits, a decimal string on the wire since JavaScript can't hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_in_characters_not_bytes() {
        assert!(CmId::new("é".repeat(64)).is_ok());
        assert_eq!(CmId::new("e".repeat(65)), Err(IdError::TooLong(64)));
        assert_eq!(UserId::new(""), Err(IdError::Empty));
        assert_eq!(UserId::new("a\u{7f}"), Err(IdError::Control));
        assert_eq!(UserId::new("a\0"), Err(IdError::Control));
    }

    #[test]
    fn ids_that_only_look_alike_differ() {
        let ids = ["a", "A", "á", "a\u{301}", "a "].map(|id| UserId::new(id).unwrap());
        for (i, a) in ids.iter().enumerate() {
            for b in &ids[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }
}
