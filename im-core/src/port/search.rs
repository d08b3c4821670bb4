//! Full-text search over a user's own conversations.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;

use super::error::PortError;
use crate::model::{ConversationId, Entry, Kind, Seq, Timestamp, UserId};
use crate::rule::{SEARCHED, Words, said};

/// Where an entry stands among all conversations: a later one is newer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// When it was said.
    pub at: Timestamp,
    /// In which conversation.
    pub conv: ConversationId,
    /// At which place there.
    pub seq: Seq,
}

impl Spot {
    /// That of an entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        Self {
            at: entry.at,
            conv: entry.conv.clone(),
            seq: entry.seq,
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    /// Who looks: in the conversations that they are or were in, from where to where they may see.
    pub user: UserId,
    /// Entries that say these.
    pub words: Words,
    /// In this conversation alone.
    pub conv: Option<ConversationId>,
    /// From this user. An edit may be anybody's: what it edits is the caller's to look at.
    pub from: Option<UserId>,
    /// Of this kind. An edit counts as a text.
    pub kind: Option<Kind>,
    /// From then on.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
    /// Older than that.
    pub before: Option<Spot>,
    /// The most entries.
    pub limit: usize,
}

impl Find {
    /// The kinds of entries that are looked at.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        match self.kind {
            None => SEARCHED.to_vec(),
            Some(Kind::Text) => vec![Kind::Text, Kind::Edit],
            Some(kind) => vec![kind],
        }
    }

    /// Whether an entry is one that is looked for; what the user may see is not looked at.
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        let kind = entry.body.kind();
        let is_theirs = |from: &UserId| *from == entry.from || kind == Kind::Edit;
        self.kinds().contains(&kind)
            && SEARCHED.contains(&kind)
            && self.from.as_ref().is_none_or(is_theirs)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
            && self.before.as_ref().is_none_or(|it| Spot::of(entry) < *it)
            && self.words.are_in(&said(&entry.body))
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The newest first.
    pub entries: Vec<Entry>,
    /// Ask again before that; `None` when nothing older is left to look at.
    pub next: Option<Spot>,
    /// Whether everything was looked at down to there. If not, the user has more conversations than
    /// one search looks in, or the index is so far behind that what it lacks can't be read.
    pub is_whole: bool,
}

/// Search over what a store holds. What was answered is found by every later search: what is not in
/// the index yet is read from the logs, as far as that is bounded ([`Found::is_whole`]). What was
/// [erased](super::Write::Erase) is never found again, nor are its words in the index. An edit is
/// found as an entry of its own, and what it edits as what it was.
#[async_trait]
pub trait Search: Debug + Send + Sync + 'static {
    /// Looks for entries.
    async fn find(&self, find: &Find) -> Result<Found, PortError>;

    /// Takes some of what was appended into the index, away from those who append: whether there is
    /// more now. Anybody may call it, at any time, also several at once.
    async fn index(&self) -> Result<bool, PortError>;
}

/// Puts together what several reads found. Each is of other entries or of the same, and may end
/// before it has looked at everything.
#[derive(Debug)]
pub struct Hits {
    limit: usize,
    found: BTreeMap<Reverse<Spot>, Entry>,
    /// The newest place at which a read has ended: older ones may lack something.
    end: Option<Spot>,
    is_whole: bool,
}

impl Hits {
    /// At most so many.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            found: BTreeMap::new(),
            end: None,
            is_whole: true,
        }
    }

    /// An entry that was found.
    pub fn add(&mut self, entry: Entry) {
        self.found.insert(Reverse(Spot::of(&entry)), entry);
        if self.found.len() > self.limit
            && let Some((_, last)) = self.found.pop_last()
        {
            // Some were found that are not given.
            if let Some((Reverse(kept), _)) = self.found.last_key_value() {
                debug_assert!(Spot::of(&last) < *kept);
                let kept = kept.clone();
                self.end_at(kept);
            }
        }
    }

    /// A read that has looked at nothing older.
    pub fn end_at(&mut self, spot: Spot) {
        if self.end.as_ref().is_none_or(|end| *end < spot) {
            self.end = Some(spot);
        }
    }

    /// Something was left out.
    pub const fn lacks(&mut self) {
        self.is_whole = false;
    }

    /// What others found.
    pub fn join(&mut self, found: Found) {
        found.next.into_iter().for_each(|next| self.end_at(next));
        found.entries.into_iter().for_each(|entry| self.add(entry));
        self.is_whole &= found.is_whole;
    }

    /// All of it.
    #[must_use]
    pub fn found(self) -> Found {
        let end = self.end;
        let is_sure = |spot: &Spot| end.as_ref().is_none_or(|end| spot >= end);
        let found = self.found.into_iter();
        let found = found.filter(|(Reverse(spot), _)| is_sure(spot));
        Found {
            entries: found.map(|(_, entry)| entry).collect(),
            next: end,
            is_whole: self.is_whole,
        }
    }
}
