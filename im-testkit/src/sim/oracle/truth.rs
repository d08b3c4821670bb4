//! The stores as the oracle reads them: directly, whatever the nodes are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt as _;
use im_core::model::{
    ConversationId, Entry, Kind, MessageId, Seq, Slot, Stamps, Timestamp, UserId, Value,
};
use im_core::port::{LogQuery, MembershipLine, Store as _};
use im_core::rule::{MemberEvent, MemberEventOp};

use crate::memory::{MemoryHot, MemoryStore};

/// More than any run stores.
const ALL: usize = 1_000_000;

/// Every log, read once and kept.
#[derive(Debug)]
pub(crate) struct Truth {
    /// Each with the stamps up to which it was read.
    stores: Vec<(Arc<MemoryStore>, Stamps)>,
    /// A tier whose answers stand before they are in a store.
    hot: Option<Arc<MemoryHot>>,
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

/// What is read at once.
#[derive(Default)]
struct News {
    entries: Vec<Arc<Entry>>,
    heads: BTreeMap<ConversationId, Seq>,
}

impl News {
    fn head(&self, conv: &ConversationId) -> Seq {
        self.heads.get(conv).copied().unwrap_or_default()
    }

    fn take(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.heads.insert(entry.conv.clone(), entry.seq);
            self.entries.push(Arc::new(entry));
        }
    }
}

impl Truth {
    pub(crate) fn new(stores: &[Arc<MemoryStore>], hot: Option<Arc<MemoryHot>>) -> Self {
        let stores = stores.iter();
        Self {
            stores: stores
                .map(|store| (Arc::clone(store), Stamps::START))
                .collect(),
            hot,
            logs: BTreeMap::new(),
        }
    }

    /// The store that has a conversation.
    fn owner(&self, conv: &ConversationId) -> usize {
        match self.stores.len() {
            1 => 0,
            _ => self.server(Slot::of(conv)),
        }
    }

    /// The store in which reads of a slot are right.
    fn server(&self, slot: Slot) -> usize {
        let epochs = self.stores.iter().map(|(store, _)| store.serves(slot));
        let serving = epochs.enumerate().max_by_key(|(_, epoch)| *epoch);
        serving.map_or(0, |(at, _)| at)
    }

    fn store_of(&self, conv: &ConversationId) -> &MemoryStore {
        &self.stores[self.owner(conv)].0
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
        let stores = self.stores.iter().enumerate();
        let lines = stores.flat_map(|(at, (store, _))| {
            let page = store
                .memberships(user, &Stamps::START, ALL, false)
                .now_or_never()
                .and_then(Result::ok);
            let lines = page.map_or_else(Vec::new, |page| page.lines).into_iter();
            lines.filter(move |line| self.owner(&line.conversation.id) == at)
        });
        // Of what a tier has, the store's line may know nothing yet.
        let up_to_now = |mut line: MembershipLine| {
            line.conversation.head = self.head(&line.conversation.id);
            line
        };
        lines.map(up_to_now).collect()
    }

    /// Reads what is new, to be [pushed](Self::push) one by one.
    pub(crate) fn news(&mut self) -> Vec<Arc<Entry>> {
        let mut news = News::default();
        for at in 0..self.stores.len() {
            self.news_of(at, &mut news);
        }
        if let Some(hot) = &self.hot {
            let above = hot.above(|conv| news.head(conv).max(self.head(conv)));
            news.take(above);
        }
        news.entries
    }

    /// What is new in a store.
    fn news_of(&mut self, at: usize, news: &mut News) {
        let (store, stamps) = &mut self.stores[at];
        let store = Arc::clone(store);
        let Some(Ok(changed)) = store.changed(stamps, ALL).now_or_never() else {
            return;
        };
        *stamps = changed.stamps;
        for changed in changed.convs {
            let conv = changed.conv;
            let query = LogQuery::After {
                // Two stores may tell of the same, when a slot has moved.
                seq: news.head(&conv).max(self.head(&conv)),
                limit: ALL,
                bytes: usize::MAX,
            };
            let Some(Ok(entries)) = store.log(&conv, query).now_or_never() else {
                continue;
            };
            if !self.logs.contains_key(&conv) {
                let log = self.begin(&conv);
                self.logs.insert(conv.clone(), log);
            }
            news.take(entries);
        }
    }

    /// What was read once is still there, and nothing else in its place.
    pub(crate) fn is_kept(&self) -> Result<(), String> {
        for (conv, log) in &self.logs {
            let known: Vec<_> = log.entries.iter().map(|entry| entry.id).collect();
            let there = self.ids(conv);
            if there == known {
                continue;
            }
            let pairs = known.iter().zip(&there);
            let same = pairs.take_while(|(known, there)| known == there).count();
            let (was, is) = (known.get(same), there.get(same));
            return Err(format!(
                "{conv} had {was:?} at {} and has {is:?} there",
                same + 1
            ));
        }
        Ok(())
    }

    /// Whether everything is in a store, whatever there is before it.
    pub(crate) fn is_cold(&self) -> Result<(), String> {
        let behind = self.logs.iter().find(|(conv, log)| {
            let stored = self.store_of(conv).ids(conv).len();
            stored < log.entries.len()
        });
        match behind {
            Some((conv, _)) => Err(format!("the end of {conv} is not in the store")),
            None => Ok(()),
        }
    }

    /// Slots of which it is not said in one place alone where they are, and where they are read.
    pub(crate) fn slots_under_way(&self) -> Vec<(Slot, usize)> {
        let slots = self.stores.iter().flat_map(|(store, _)| store.under_way());
        let slots: BTreeSet<_> = slots.collect();
        slots
            .into_iter()
            .map(|slot| (slot, self.server(slot)))
            .collect()
    }

    fn ids(&self, conv: &ConversationId) -> Vec<MessageId> {
        let mut ids = self.store_of(conv).ids(conv);
        if let Some(hot) = &self.hot {
            let known = |of: &ConversationId| match of == conv {
                true => Seq(ids.len() as u64),
                false => Seq(u64::MAX),
            };
            let above = hot.above(known);
            ids.extend(above.into_iter().map(|entry| entry.id));
        }
        ids
    }

    /// Follows the next entry of a log.
    pub(crate) fn push(&mut self, entry: &Arc<Entry>) {
        if let Some(log) = self.logs.get_mut(&entry.conv) {
            log.push(entry);
        }
    }

    fn begin(&self, conv: &ConversationId) -> Log {
        let store = self.store_of(conv);
        let view = store.view(conv, &[]).now_or_never();
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
            let members = store.members(conv, None, ALL).now_or_never();
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
