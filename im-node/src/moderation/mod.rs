//! What every node keeps in memory of the operator's lists: sensitive words, and who is banned,
//! muted or known as staff. So no message waits for a look-up. The lists themselves are facts; a
//! node reads one anew when it hears that it changed, and looks now and then in case it did not.

mod counts;
mod lexicon;
mod sketch;
mod standings;
mod texts;
mod watch;

use std::sync::Arc;

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Body, DeviceId, FactKey, FactTable, Timestamp, UserId, Value};
use im_core::port::Commit;
use im_moderation::mask::Masker;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub(crate) use self::counts::{Counts, Day, date, day_key, day_of};
pub(crate) use self::counts::{flush, read_count};
pub(crate) use self::lexicon::{Judged, Lexicon, level_of};
pub(crate) use self::sketch::Sketch;
pub(crate) use self::standings::{Standings, standing_key};
pub(crate) use self::texts::{Seen, visit, visit_value};
pub(crate) use self::watch::{LISTS_EVERY, STANDINGS_MAX, WORDS_MAX, watch};
use crate::node::Inner;
use crate::router::BusMessage;
use crate::service::remove;

/// A list that every node keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum List {
    /// Sensitive words.
    Words,
    /// Who is banned, muted, staff.
    Standings,
}

impl List {
    /// What says which of its states is the one of now.
    pub(crate) fn version_key(self) -> FactKey {
        let name = match self {
            Self::Words => "words",
            Self::Standings => "standings",
        };
        FactKey::new(FactTable::Version, "", name)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Moderation {
    lexicon: RwLock<Arc<Lexicon>>,
    standings: RwLock<Arc<Standings>>,
    /// Wake who looks after each list.
    words_changed: Arc<Notify>,
    standings_changed: Arc<Notify>,
    /// One reads the standings at a time, or an older reading could replace a newer one.
    reading: tokio::sync::Mutex<()>,
    masker: Masker,
    pub(crate) counts: Counts,
}

impl Moderation {
    /// Nothing is known yet; `start` is the number of the node's start.
    pub(crate) fn new(start: u64, masker: Masker) -> Self {
        Self {
            lexicon: RwLock::default(),
            standings: RwLock::default(),
            words_changed: Arc::default(),
            standings_changed: Arc::default(),
            reading: tokio::sync::Mutex::default(),
            masker,
            counts: Counts::new(start),
        }
    }

    /// The list of words as it is now; a look that has begun goes on with its own.
    pub(crate) fn lexicon(&self) -> Arc<Lexicon> {
        Arc::clone(&self.lexicon.read())
    }

    /// Who is banned and so on, as of now.
    pub(crate) fn standings(&self) -> Arc<Standings> {
        Arc::clone(&self.standings.read())
    }

    /// A text without the personal data in it.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.masker.mask(text).text.into_owned()
    }

    /// A body's value without the personal data in its texts, numbers and keys: a number with some
    /// becomes a text.
    pub(crate) fn mask_body(&self, body: &Body) -> Value {
        let mut value = body.value();
        visit(&mut value, &mut |seen| match seen {
            Seen::Text(text) | Seen::Key(text) => {
                let masked = self.mask(text);
                if masked != **text {
                    *text = masked.into();
                }
            }
            Seen::Number(number) => {
                let digits = number.to_json();
                let masked = self.mask(&digits);
                if masked != digits {
                    *number = masked.into();
                }
            }
        });
        value
    }

    fn notify(&self, list: List) -> &Arc<Notify> {
        match list {
            List::Words => &self.words_changed,
            List::Standings => &self.standings_changed,
        }
    }

    /// A list may have changed: it is looked at soon.
    pub(crate) fn wake(&self, list: List) {
        self.notify(list).notify_one();
    }
}

impl Inner {
    /// A list was changed by this node: it reads it anew, and so do the others.
    pub(crate) fn list_changed(&self, list: List) {
        self.moderation.wake(list);
        self.publish(&BusMessage::Changed { list });
    }

    /// A user's connections end, or those of one device, on every node; that device is pushed to no
    /// more.
    pub(crate) fn revoke(self: &Arc<Self>, user: &UserId, device: Option<&DeviceId>) {
        self.hub.revoke(user, device, self.settings.reconnect_ms);
        if let Some(device) = device {
            let key = FactKey::new(FactTable::PushTarget, user.as_str(), device.as_str());
            let inner = Arc::clone(self);
            self.spawn(async move { inner.remove_target(key).await });
        }
        self.publish(&BusMessage::Revoked {
            user: user.clone(),
            device: device.cloned(),
        });
    }

    async fn remove_target(&self, key: FactKey) {
        let Some(conv) = key.place() else { return };
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes: vec![remove(key)],
        };
        if let Err(error) = self.appender.commit(commit).await {
            tracing::warn!(%error, "a device that was revoked is still pushed to");
        }
    }

    /// What the words of a body ask for.
    pub(crate) fn judge(&self, body: &Body) -> Judged {
        self.moderation.lexicon().judge(body)
    }

    /// A name or a text about somebody as it may be shown: what asks for a mask or a look is
    /// masked, as nobody waits for a decision on a name.
    pub(crate) fn clean(&self, field: &str, text: String) -> Result<String, Failure> {
        let cleaned = self.moderation.lexicon().clean(&text);
        match cleaned {
            None => Err(refused_word(field)),
            Some(std::borrow::Cow::Borrowed(_)) => Ok(text),
            Some(std::borrow::Cow::Owned(masked)) => Ok(masked),
        }
    }

    /// May a user say something, whatever the conversation?
    pub(crate) fn may_speak(&self, user: &UserId, now: Timestamp) -> Result<(), Failure> {
        let standings = self.moderation.standings();
        if standings.is_banned(user, now) {
            return Err(banned());
        }
        match standings.muted_until(user, now) {
            None => Ok(()),
            Some(until) => {
                let left_ms = until.0.saturating_sub(now.0).unsigned_abs();
                Err(Failure::retry(ErrorCode::Muted, "you are muted", left_ms))
            }
        }
    }
}

/// The refusal of who is shut out.
pub(crate) fn banned() -> Failure {
    Failure::new(ErrorCode::Forbidden, "you are banned")
}

/// The refusal of a text with a word that is refused: not which, or people would learn the list.
pub(crate) fn refused_word(field: &str) -> Failure {
    let words = format!("{field}: has a word that is not allowed here");
    Failure::new(ErrorCode::Rejected, words)
}
