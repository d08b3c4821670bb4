//! The store as the oracle reads it: directly, whatever the nodes are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use im_core::model::{ConversationId, Entry, Kind, Seq, Stamps, Timestamp, UserId, Value};
use im_core::port::{LogQuery, MembershipLine, Store as _};
use im_core::rule::{MemberEvent, MemberEventOp};

use crate::memory::MemoryStore;

/// More than any run stores.
const ALL: usize = 1_000_000;

/// Every log, read once and kept.
#[derive(Debug)]
pub(crate) struct Truth {
    memory: Arc<MemoryStore>,
    stamps: Stamps,
    logs: BTreeMap<ConversationId, Log>,
}

/// One conversation's log, and what it says of its members.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Arc<Entry>>,
    hides: bool,
    /// When each user was a member: from an entry to an entry, both theirs to see.
    spans: BTreeMap<UserId, Vec<(Seq, Option<Seq>)>>,
    muted: BTreeMap<UserId, Timestamp>,
}

impl Truth {
    pub(crate) const fn new(memory: Arc<MemoryStore>) -> Self {
        Self {
            memory,
            stamps: Stamps::START,
            logs: BTreeMap::new(),
        }
    }

    pub(crate) fn log(&self, conv: &ConversationId) -> Option<&Log> {
        self.logs.get(conv)
    }

    /// The entry at a place.
    pub(crate) fn entry(&self, conv: &ConversationId, seq: Seq) -> Option<&Arc<Entry>> {
        let at = usize::try_from(seq.0.checked_sub(1)?).ok()?;
        self.logs.get(conv)?.entries.get(at)
    }

    /// The last place of a log.
    pub(crate) fn head(&self, conv: &ConversationId) -> Seq {
        Seq(self
            .logs
            .get(conv)
            .map_or(0, |log| log.entries.len() as u64))
    }

    /// A user's conversations as the store lists them, those left too.
    pub(crate) fn lines_of(&self, user: &UserId) -> Vec<MembershipLine> {
        let page = self
            .memory
            .memberships(user, &Stamps::START, ALL, false)
            .now_or_never()
            .and_then(Result::ok);
        page.map_or_else(Vec::new, |page| page.lines)
    }

    /// Reads what is new in the store, to be [pushed](Self::push) one by one.
    pub(crate) fn news(&mut self) -> Vec<Arc<Entry>> {
        let mut news = Vec::new();
        let changed = self.memory.changed(&self.stamps, ALL).now_or_never();
        let Some(Ok(changed)) = changed else {
            return news;
        };
        self.stamps = changed.stamps;
        for changed in changed.convs {
            let conv = changed.conv;
            let query = LogQuery::After {
                seq: self.head(&conv),
                limit: ALL,
                bytes: usize::MAX,
            };
            let Some(Ok(entries)) = self.memory.log(&conv, query).now_or_never() else {
                continue;
            };
            if !self.logs.contains_key(&conv) {
                let log = self.begin(&conv);
                self.logs.insert(conv.clone(), log);
            }
            news.extend(entries.into_iter().map(Arc::new));
        }
        news
    }

    /// Follows the next entry of a log.
    pub(crate) fn push(&mut self, entry: &Arc<Entry>) {
        if let Some(log) = self.logs.get_mut(&entry.conv) {
            log.push(entry);
        }
    }

    fn begin(&self, conv: &ConversationId) -> Log {
        let view = self.memory.view(conv, &[]).now_or_never();
        let hides = view
            .and_then(Result::ok)
            .flatten()
            .is_some_and(|view| view.conversation.hide_history);
        let mut log = Log {
            entries: Vec::new(),
            hides,
            spans: BTreeMap::new(),
            muted: BTreeMap::new(),
        };
        if conv.as_str().starts_with("d-") {
            let members = self.memory.members(conv, None, ALL).now_or_never();
            for member in members.and_then(Result::ok).unwrap_or_default() {
                log.spans.insert(member.user, vec![(Seq(1), None)]);
            }
        }
        log
    }
}

impl Log {
    /// Whether a user is a member now.
    pub(crate) fn is_in(&self, user: &UserId) -> bool {
        self.spans(user).last().is_some_and(|(_, to)| to.is_none())
    }

    /// Whether a user was a member when that entry came (theirs included that removed them).
    pub(crate) fn was_in(&self, user: &UserId, seq: Seq) -> bool {
        let within =
            |(from, to): &(Seq, Option<Seq>)| *from <= seq && to.is_none_or(|to| seq <= to);
        self.spans(user).iter().any(within)
    }

    /// Whether a user has ever been allowed to see that entry.
    pub(crate) fn may_see(&self, user: &UserId, seq: Seq) -> bool {
        let seen = |(from, to): &(Seq, Option<Seq>)| {
            let from = if self.hides { *from } else { Seq(1) };
            from <= seq && to.is_none_or(|to| seq <= to)
        };
        self.spans(user).iter().any(seen)
    }

    /// Whether what was before that place is hidden from a user who joined there, though they may
    /// have been a member before: a re-join starts anew.
    pub(crate) fn begins_at(&self, user: &UserId, seq: Seq) -> bool {
        self.hides && self.spans(user).iter().any(|(from, _)| *from == seq)
    }

    /// Whether that entry is the last of a user's, until they come back.
    pub(crate) fn ends_at(&self, user: &UserId, seq: Seq) -> bool {
        self.spans(user).iter().any(|(_, to)| *to == Some(seq))
    }

    /// Whether a user left at or after that place.
    pub(crate) fn left_after(&self, user: &UserId, seq: Seq) -> bool {
        let ends = self.spans(user).iter().filter_map(|(_, to)| *to);
        ends.into_iter().any(|to| to >= seq)
    }

    /// Until when a user may not speak, by the entries so far.
    pub(crate) fn muted(&self, user: &UserId) -> Option<Timestamp> {
        self.muted.get(user).copied()
    }

    fn spans(&self, user: &UserId) -> &[(Seq, Option<Seq>)] {
        self.spans.get(user).map_or(&[], Vec::as_slice)
    }

    fn push(&mut self, entry: &Arc<Entry>) {
        self.entries.push(Arc::clone(entry));
        if entry.body.kind() == Kind::Group {
            let value = entry.body.value();
            let users = match value.get("users") {
                Some(Value::Array(users)) if self.spans.is_empty() => users.as_slice(),
                _ => &[],
            };
            let users = users.iter().filter_map(Value::as_text);
            for user in users.filter_map(|user| user.parse::<UserId>().ok()) {
                self.spans.insert(user, vec![(Seq(1), None)]);
            }
        }
        let Some(event) = MemberEvent::of(&entry.body) else {
            return;
        };
        for user in event.users {
            let spans = self.spans.entry(user.clone()).or_default();
            let open = spans.last_mut().filter(|(_, to)| to.is_none());
            match (event.op, open) {
                (MemberEventOp::Add | MemberEventOp::Join, None) => spans.push((entry.seq, None)),
                (MemberEventOp::Remove | MemberEventOp::Leave, Some(open)) => {
                    open.1 = Some(entry.seq);
                }
                (MemberEventOp::Mute(until), _) => {
                    match until {
                        Some(until) => self.muted.insert(user, until),
                        None => self.muted.remove(&user),
                    };
                }
                _ => {}
            }
        }
    }
}
