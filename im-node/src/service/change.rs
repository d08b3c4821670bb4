//! Edits, recalls, reactions and pins: what they change, and what is kept of it beside the log.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    Body, ConversationId, Draft, Entry, Fact, FactKey, FactTable, Family, Kind, MessageId, Seq,
    Timestamp, UserId, Value,
};
use im_core::port::{Commit, FactQuery, LogQuery, Put, Was, Write};
use im_core::rule::forward::check_own;
use im_core::rule::{
    Action, ActorView, Change, EditMark, Mark, authorize, mark_key, marks_below, marks_from,
};

use super::facts::{remove, set};
use super::keep::{hide_old, is_old};
use crate::appender::port_failure;
use crate::media::gone_with;
use crate::node::Inner;

/// How often a message may be edited.
const EDITS_MAX: usize = 100;
/// Different reactions of one user to one message.
const REACTIONS_MAX: usize = 20;
/// Messages pinned in one conversation.
pub(super) const PINS_MAX: usize = 100;
/// Marks of one message that go with it when it is recalled; what is beyond is never shown.
const MARKS_MAX: usize = 1_000;
/// How far above the place that was known an entry is looked for by its id.
const SEARCH_MAX: u64 = 20_000;
/// Bytes of bodies read at once on that search.
const SEARCH_BYTES: usize = 1 << 20;
/// Entries read at once on that search.
const SEARCH_ENTRIES: usize = 200;

/// The entry that a draft changes, and how.
#[derive(Debug)]
pub(super) struct Changed {
    seq: Seq,
    change: Change,
    /// When the entry that it changes ends.
    expires_at: Option<Timestamp>,
}

impl Inner {
    /// An edit, a recall, a reaction or a pin: is its target there, and may this user?
    pub(super) async fn target(
        &self,
        conv: &ConversationId,
        draft: &Draft,
        actor: ActorView<'_>,
    ) -> Result<Changed, Failure> {
        let no_entry = || Failure::new(ErrorCode::NotFound, "no such entry");
        let (seq, change) = Change::of(&draft.body).ok_or_else(no_entry)?;
        let member = actor.member.ok_or_else(no_entry)?;
        if seq < member.first_seq || seq.0 == 0 {
            return Err(no_entry());
        }
        let entry = self.entry(conv, seq).await?;
        let oldest = self.oldest(actor.kind);
        let entry = entry.filter(|entry| entry.body.kind().family() == Family::Say);
        let entry = entry.filter(|entry| !is_old(entry, oldest));
        let entry = entry.ok_or_else(no_entry)?;
        let own = entry.from == member.user;
        let author = if own {
            None
        } else {
            self.view(conv, std::slice::from_ref(&entry.from)).await?
        };
        let author = author.as_ref().and_then(|view| view.members.first());
        let action = Action::Change {
            kind: draft.body.kind(),
            own,
            author,
            at: entry.at,
            windows: self.settings.changes,
        };
        authorize(action, actor)?;
        if matches!(change, Change::Edit(_)) && entry.body.kind() != Kind::Text {
            return Err(Failure::new(ErrorCode::Conflict, "only texts are edited"));
        }
        // It says who said it first: other words would be put into their mouth.
        if matches!(change, Change::Edit(_)) && check_own(&entry.body).is_err() {
            let words = "what was forwarded is not edited";
            return Err(Failure::new(ErrorCode::Conflict, words));
        }
        Ok(Changed {
            seq,
            change,
            expires_at: entry.expires_at,
        })
    }

    /// The entry at a place.
    pub(super) async fn entry(
        &self,
        conv: &ConversationId,
        seq: Seq,
    ) -> Result<Option<Entry>, Failure> {
        let query = LogQuery::After {
            seq: Seq(seq.0.saturating_sub(1)),
            limit: 1,
            bytes: usize::MAX,
        };
        let found = self.store.log(conv, query).await;
        let found = found.map_err(|error| port_failure(&error))?.pop();
        let mut entry = found.filter(|entry| entry.seq == seq);
        if let Some(entry) = &mut entry {
            hide_old(entry, self.oldest_in(conv).await?);
        }
        Ok(entry)
    }

    /// Adds to the commit of a change what is kept of it beside the log.
    pub(super) async fn mark(
        &self,
        commit: &mut Commit,
        changed: Changed,
        head: Seq,
    ) -> Result<(), Failure> {
        let Some(Write::Append(entry)) = commit.writes.first_mut() else {
            return Ok(());
        };
        // Another text for what ends is given no longer than that.
        entry.expires_at = changed.expires_at;
        let done = Done {
            conv: commit.conv.clone(),
            seq: changed.seq,
            id: entry.id,
            by: entry.from.clone(),
            at: entry.at,
            head,
        };
        // A hook may have given the body another text.
        let change = Change::of(&entry.body).map_or(changed.change, |(_, change)| change);
        // What is taken away meanwhile is changed no more.
        let stays = still_there(&done.conv, done.seq);
        let writes = match change {
            Change::Recall => return self.recall(done, &mut commit.writes).await,
            Change::Edit(text) => self.edit(done, text).await?,
            Change::React { emoji, on } => self.react(done, &emoji, on).await?,
            Change::Pin(on) => self.pin(done, on).await?,
        };
        commit.writes.extend(writes);
        commit.writes.push(stays);
        Ok(())
    }

    async fn edit(&self, done: Done, text: String) -> Result<Vec<Write>, Failure> {
        let key = mark_key(done.conv.as_str(), done.seq, "e");
        let last = self.fact(&key).await?;
        let known = last
            .as_ref()
            .and_then(|fact| Mark::read(&fact.key.key, &fact.value));
        let mut entries = match known {
            Some((_, Mark::Edit(edit))) => edit.entries,
            _ => Vec::new(),
        };
        if entries.len() >= EDITS_MAX {
            return Err(Failure::new(ErrorCode::Conflict, "it was edited too often"));
        }
        entries.push((done.id, done.head));
        let mark = Mark::Edit(EditMark {
            text,
            by: done.by,
            at: done.at,
            entries,
        });
        Ok(vec![Write::Put(Put {
            key,
            to: Some((mark.value(), None)),
            was: last.map_or(Was::Absent, |fact| Was::Value(fact.value)),
        })])
    }

    /// What it said goes, with its edits and everything that was done to it.
    async fn recall(&self, done: Done, writes: &mut Vec<Write>) -> Result<(), Failure> {
        writes.extend(self.gone(&done.conv, done.seq).await?);
        let (by, at) = (done.by, done.at);
        let mark = Mark::Recall { by, at };
        let key = mark_key(done.conv.as_str(), done.seq, &mark.what());
        writes.push(set(key, mark.value()));
        Ok(())
    }

    /// What takes back a message of anybody's, its own entry first.
    pub(super) async fn recall_of(
        &self,
        by: &UserId,
        conv: &ConversationId,
        seq: Seq,
    ) -> Result<Vec<Write>, Failure> {
        let target = ("target", Value::from(seq.0));
        let mut writes = vec![self.server_entry(by, Body::of(Kind::Recall, [target]))];
        let done = Done {
            conv: conv.clone(),
            seq,
            id: MessageId(0),
            by: by.clone(),
            at: self.clock.timestamp(),
            head: Seq(0),
        };
        self.recall(done, &mut writes).await?;
        Ok(writes)
    }

    /// What takes a message away, its edits, and what was done to it; on the condition that it is
    /// not edited meanwhile.
    pub(crate) async fn gone(
        &self,
        conv: &ConversationId,
        seq: Seq,
    ) -> Result<Vec<Write>, Failure> {
        let marks = self.marks(conv, seq, seq, MARKS_MAX).await?;
        let mut erased = vec![seq];
        let edit = mark_key(conv.as_str(), seq, "e");
        let mut was = Was::Absent;
        for fact in &marks {
            // Also of one that can't be read, because its author's key is deleted.
            if fact.key == edit {
                was = Was::Value(fact.value.clone());
            }
            if let Some((_, Mark::Edit(edit))) = Mark::read(&fact.key.key, &fact.value) {
                erased.extend(self.edits(conv, &edit).await?);
            }
        }
        let keys = marks.into_iter().map(|fact| fact.key);
        let keys = keys.filter(|key| *key != edit).chain([pin_key(conv, seq)]);
        let mut writes: Vec<Write> = keys.map(remove).collect();
        writes.push(Write::Put(Put {
            key: edit,
            to: None,
            was,
        }));
        writes.push(Write::Erase(erased));
        if self.media.is_some()
            && let Some(entry) = self.entry(conv, seq).await?
        {
            writes.extend(gone_with(&entry, self.clock.timestamp()));
        }
        Ok(writes)
    }

    /// Where the entries of a message's edits stand.
    async fn edits(&self, conv: &ConversationId, edit: &EditMark) -> Result<Vec<Seq>, Failure> {
        let mut found = Vec::new();
        for (id, above) in &edit.entries {
            found.extend(self.place_of(conv, *id, *above).await?);
        }
        Ok(found)
    }

    /// Where an entry stands that was decided on when the head was `above`.
    pub(crate) async fn place_of(
        &self,
        conv: &ConversationId,
        id: MessageId,
        above: Seq,
    ) -> Result<Option<Seq>, Failure> {
        let mut from = above;
        let end = Seq(above.0.saturating_add(SEARCH_MAX));
        while from < end {
            let query = LogQuery::After {
                seq: from,
                limit: SEARCH_ENTRIES,
                bytes: SEARCH_BYTES,
            };
            let page = self.store.log(conv, query).await;
            let page = page.map_err(|error| port_failure(&error))?;
            if let Some(entry) = page.iter().find(|entry| entry.id == id) {
                return Ok(Some(entry.seq));
            }
            match page.last() {
                Some(last) => from = last.seq,
                None => break,
            }
        }
        Ok(None)
    }

    async fn react(&self, done: Done, emoji: &str, on: bool) -> Result<Vec<Write>, Failure> {
        let conv = done.conv.as_str();
        let key = mark_key(conv, done.seq, &Mark::reaction(&done.by, emoji));
        if !on {
            return Ok(vec![remove(key)]);
        }
        let first = mark_key(conv, done.seq, &Mark::reactions_of(&done.by)).key;
        let query = FactQuery::Of {
            table: FactTable::Mark,
            owner: conv.to_owned(),
            below: Some(above_all(&first)),
            after: Some(first),
            limit: REACTIONS_MAX,
        };
        let own = self.facts(&query).await?;
        if own.len() >= REACTIONS_MAX && own.iter().all(|fact| fact.key != key) {
            return Err(Failure::new(ErrorCode::Conflict, "too many reactions"));
        }
        let mark = Mark::React {
            by: done.by,
            emoji: emoji.to_owned(),
            at: done.at,
        };
        Ok(vec![set(key, mark.value())])
    }

    async fn pin(&self, done: Done, on: bool) -> Result<Vec<Write>, Failure> {
        let key = pin_key(&done.conv, done.seq);
        if !on {
            return Ok(vec![remove(key)]);
        }
        let pins = self.facts(&all_pins(&done.conv)).await?;
        if pins.len() >= PINS_MAX && pins.iter().all(|fact| fact.key != key) {
            return Err(Failure::new(ErrorCode::Conflict, "too many pins"));
        }
        let by = Value::from(done.by.as_str());
        let value = Value::object([("by", by), ("at", done.at.0.into())]);
        Ok(vec![set(key, value.to_json())])
    }

    /// The marks of a run of messages.
    pub(super) async fn marks(
        &self,
        conv: &ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<Fact>, Failure> {
        let query = FactQuery::Of {
            table: FactTable::Mark,
            owner: conv.as_str().to_owned(),
            after: Some(marks_from(from)),
            below: Some(marks_below(to)),
            limit,
        };
        self.facts(&query).await
    }
}

/// A change that is about to be stored.
struct Done {
    conv: ConversationId,
    /// The entry that it changes.
    seq: Seq,
    /// Its own entry.
    id: MessageId,
    by: UserId,
    at: Timestamp,
    /// The log's head when it was decided.
    head: Seq,
}

/// On the condition that a message was not taken away.
fn still_there(conv: &ConversationId, seq: Seq) -> Write {
    Write::Put(Put {
        key: mark_key(conv.as_str(), seq, Mark::GONE),
        to: None,
        was: Was::Absent,
    })
}

/// What keeps late changes from a message that ended by itself.
pub(super) fn ended(conv: &ConversationId, seq: Seq) -> Write {
    let value = Value::object([("ended", Value::from(true))]);
    set(mark_key(conv.as_str(), seq, Mark::GONE), value.to_json())
}

pub(super) fn pin_key(conv: &ConversationId, seq: Seq) -> FactKey {
    FactKey::new(FactTable::Pin, conv.as_str(), format!("{:016x}", seq.0))
}

pub(super) fn all_pins(conv: &ConversationId) -> FactQuery {
    FactQuery::Of {
        table: FactTable::Pin,
        owner: conv.as_str().to_owned(),
        after: None,
        below: None,
        limit: PINS_MAX,
    }
}

/// A key above all that begin with this one, which ends with what stands between a key's parts.
fn above_all(first: &str) -> String {
    let mut key = first.to_owned();
    key.pop();
    key.push('\u{b}');
    key
}
