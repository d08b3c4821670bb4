//! From a commit, the bus or the sweep to the rooms, and from the rooms to the connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use im_core::machine::{RoomEvent, RoomRead};
use im_core::model::{ConversationId, ConversationKind, Entry, Family, Kind, Seq};
use im_core::port::{Commit, Committed, LogQuery, NewConversation, Rejected, Write};
use im_core::rule::commit::begin;
use im_core::rule::{MemberEvent, MemberEventOp};
use parking_lot::MutexGuard;

use crate::appender::entries;
use crate::joining::{announce, enter, line};
use crate::node::Inner;
use crate::outgoing::OutEntry;
use crate::rooms::{LiveRoom, RoomState};
use crate::veil::Veil;

/// Rooms with fewer users here are always pushed to at once.
pub(crate) const GATHER_USERS_MIN: u32 = 64;
/// A room is pushed to again after so long for each user here, some twenty times what a push costs:
/// under load, each write to a connection carries several entries, and almost all of the cost is
/// the write. The first entry after a pause is pushed at once.
const GATHER_PER_USER: Duration = Duration::from_micros(200);
/// But never later than this.
const GATHER_MAX: Duration = Duration::from_millis(50);
/// Entries that may wait for that.
const GATHER_ENTRIES_MAX: usize = 32;

/// News of one conversation: what was appended, and how it began if it is new.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) created: Option<NewConversation>,
    pub(crate) entries: Vec<Arc<Entry>>,
}

impl Inner {
    /// What a batch did reaches the rooms here and, as a hint, the other nodes. Gives back what is
    /// for rooms with many users here, to be delivered later, in this order.
    pub(crate) fn dispatch(
        self: &Arc<Self>,
        commits: &[Commit],
        results: &[Result<Committed, Rejected>],
    ) -> Vec<(ConversationId, News)> {
        let mut news: BTreeMap<&ConversationId, News> = BTreeMap::new();
        for (commit, result) in commits.iter().zip(results) {
            let Ok(committed) = result else { continue };
            let appended = entries(commit, committed).map(Arc::new);
            let made = if committed.created {
                created(commit)
            } else {
                None
            };
            if made.is_none() && committed.appended.iter().all(|appended| appended.dup) {
                continue;
            }
            let of = news.entry(&commit.conv).or_default();
            of.entries.extend(appended);
            of.created = of.created.take().or(made);
        }
        let mut large = Vec::new();
        self.count(news.values());
        for (conv, news) in news {
            metrics::counter!("im_entries_total").increment(news.entries.len() as u64);
            self.publish_news(conv, &news);
            if self.rooms.get(conv).is_some_and(|room| room.is_large()) {
                large.push((conv.clone(), news));
            } else {
                self.deliver(conv, news);
            }
        }
        large
    }

    /// What was stored counts for its day.
    fn count<'a>(&self, news: impl Iterator<Item = &'a News>) {
        let (mut messages, mut groups) = (0, 0);
        for news in news {
            let said = |entry: &&Arc<Entry>| entry.body.kind().family() == Family::Say;
            messages += news.entries.iter().filter(said).count() as u64;
            let kind = news.created.as_ref().map(|made| made.kind);
            let is_group = matches!(
                kind,
                Some(ConversationKind::Group | ConversationKind::Channel)
            );
            groups += u64::from(is_group);
        }
        let now = self.clock.timestamp();
        self.moderation.counts.stored(now, messages, groups);
    }

    /// News from wherever: own commits, or another node's.
    pub(crate) fn deliver(self: &Arc<Self>, conv: &ConversationId, news: News) {
        if let Some(made) = &news.created {
            self.deliver_created(conv, made);
        }
        match self.rooms.get(conv) {
            Some(room) => {
                let mut state = room.state.lock();
                for entry in news.entries {
                    state.machine.handle_entry(entry);
                }
                self.drain(&room, state);
            }
            None => self.welcome_added(conv, &news.entries),
        }
    }

    /// A conversation begins: its members that are connected here get its line, then its entries.
    fn deliver_created(self: &Arc<Self>, conv: &ConversationId, made: &NewConversation) {
        let here = self.hub.among(made.members.iter().map(|(user, _)| user));
        if here.is_empty() {
            return;
        }
        // These news may come late, long after what the user was told of their leaving.
        let (late, here): (Vec<_>, Vec<_>) = here
            .into_iter()
            .partition(|local| local.parted(conv).is_some());
        for local in late {
            self.join_later(conv, std::slice::from_ref(&local.id), Seq(1));
        }
        if here.is_empty() {
            return;
        }
        let (info, members) = begin(conv, made);
        let room = self.open_room(conv, |room, state| {
            let first = state.info.is_none();
            if !first {
                return;
            }
            state.learn(&info);
            state.checked = true;
            for member in members {
                let Some(local) = here.iter().find(|local| local.id == member.user) else {
                    continue;
                };
                announce(local, &line(&info, &member));
                enter(room, state, local, member, Seq(0));
            }
        });
        self.drain(&room, room.state.lock());
    }

    /// Nobody of this conversation was here: somebody who is may just have been added.
    fn welcome_added(self: &Arc<Self>, conv: &ConversationId, entries: &[Arc<Entry>]) {
        for entry in entries {
            let Some(event) = MemberEvent::of(&entry.body) else {
                continue;
            };
            if matches!(event.op, MemberEventOp::Add | MemberEventOp::Join) {
                self.join_later(conv, &event.users, entry.seq);
            }
        }
    }

    /// Does what the room machine asks for, and lets go of the room.
    pub(crate) fn drain(
        self: &Arc<Self>,
        room: &Arc<LiveRoom>,
        mut state: MutexGuard<'_, RoomState>,
    ) {
        let mut joined = Vec::new();
        let mut gap = false;
        while let Some(event) = state.machine.poll_event() {
            match event {
                RoomEvent::Push(entry) => {
                    state.apply(&entry);
                    let changes_members = entry.body.kind() == Kind::Member;
                    state.waiting.push(Arc::new(OutEntry::new(entry)));
                    // Who leaves with it is a recipient until the next event.
                    if changes_members {
                        self.push_waiting(room, &mut state);
                    }
                }
                RoomEvent::Joined(users) => {
                    let seq = state.machine.head().unwrap_or_default().next();
                    joined.push((users, seq));
                }
                RoomEvent::Left(user) => {
                    state.places.remove(&user);
                    if let Some(local) = self.hub.get(&user) {
                        let head = state.machine.head().unwrap_or_default();
                        local.left(&room.conv, room.key, head);
                    }
                }
                RoomEvent::Lost(users) => {
                    let head = state.machine.head().unwrap_or_default();
                    for user in &users {
                        state.places.remove(user);
                        if let Some(local) = self.hub.get(user) {
                            local.lost(room.known(&state), head);
                        }
                    }
                    joined.push((users, head.next()));
                }
                RoomEvent::Gap => gap = true,
            }
        }
        self.push_or_plan(room, &mut state);
        let read = state.machine.poll_read();
        let head = state.machine.head().unwrap_or_default();
        drop(state);
        if gap {
            let (inner, conv) = (Arc::clone(self), room.conv.clone());
            self.spawn(async move { inner.look_after_gap(&conv, head).await });
        }
        for (users, seq) in joined {
            self.join_later(&room.conv, &users, seq);
        }
        if let Some(read) = read {
            let (inner, room) = (Arc::clone(self), Arc::clone(room));
            self.spawn(async move { inner.read_for(&room, read).await });
        }
    }

    /// Pushes at once, or, right after a large fan-out, a little later what comes until then.
    fn push_or_plan(self: &Arc<Self>, room: &Arc<LiveRoom>, state: &mut RoomState) {
        if state.waiting.is_empty() {
            return;
        }
        let now = self.clock.now();
        let wait = state.push_at.map(|at| at.saturating_duration_since(now));
        let wait = wait.filter(|wait| !wait.is_zero() && state.waiting.len() < GATHER_ENTRIES_MAX);
        let Some(wait) = wait else {
            return self.push_waiting(room, state);
        };
        if std::mem::replace(&mut state.push_planned, true) {
            return;
        }
        let (inner, room) = (Arc::clone(self), Arc::clone(room));
        self.spawn(async move {
            tokio::time::sleep(wait).await;
            let mut state = room.state.lock();
            state.push_planned = false;
            inner.push_waiting(&room, &mut state);
        });
    }

    fn push_waiting(&self, room: &LiveRoom, state: &mut RoomState) {
        if state.waiting.is_empty() {
            return;
        }
        let run = std::mem::take(&mut state.waiting);
        let now = self.clock.now();
        let mut pushed = 0;
        // Of a conversation that is not known yet no more is shown than of a channel.
        let kind = state.info.as_ref().map(|info| info.kind);
        let veil = Veil::over(kind.unwrap_or(ConversationKind::Channel), &run);
        for (local, after) in state.machine.recipients_after() {
            let place = state.places.get(&local.id);
            let run = veil.shown_to(&local.id, place.map(|place| place.member.role));
            pushed += local.push_entries(now, room.known(state), after, &run);
        }
        metrics::counter!("im_deliveries_total").increment(pushed);
        let here = u32::try_from(state.machine.len()).unwrap_or(u32::MAX);
        state.push_at =
            (here >= GATHER_USERS_MIN).then(|| now + GATHER_MAX.min(GATHER_PER_USER * here));
    }

    async fn read_for(self: &Arc<Self>, room: &Arc<LiveRoom>, read: RoomRead) {
        let failed = match read {
            RoomRead::Head => match self.store.view(&room.conv, &[]).await {
                Ok(Some(view)) => {
                    let mut state = room.state.lock();
                    state.learn(&view.conversation);
                    return self.drain(room, state);
                }
                Ok(None) => return,
                Err(error) => error,
            },
            RoomRead::After { seq, limit } => {
                let query = LogQuery::After {
                    seq,
                    limit,
                    bytes: self.settings.limits.page_bytes,
                };
                match self.store.log(&room.conv, query).await {
                    Ok(entries) => {
                        let mut state = room.state.lock();
                        state
                            .machine
                            .handle_read(entries.into_iter().map(Arc::new).collect());
                        return self.drain(room, state);
                    }
                    Err(error) => error,
                }
            }
        };
        tracing::warn!(error = %failed, "a room could not read its log");
        room.state
            .lock()
            .machine
            .handle_read_failed(self.clock.now());
        tokio::time::sleep(Duration::from_millis(250)).await;
        let mut state = room.state.lock();
        state.machine.handle_timeout(self.clock.now());
        self.drain(room, state);
    }

    /// The room of a conversation, made when missing, under its lock.
    pub(crate) fn open_room(
        &self,
        conv: &ConversationId,
        with: impl FnOnce(&Arc<LiveRoom>, &mut RoomState),
    ) -> Arc<LiveRoom> {
        loop {
            let room = self.rooms.get_or_make(conv);
            let mut state = room.state.lock();
            if state.closed {
                continue;
            }
            // A late one sends the room back, and what it has applied counts as pushed then.
            self.push_waiting(&room, &mut state);
            with(&room, &mut state);
            drop(state);
            return room;
        }
    }
}

fn created(commit: &Commit) -> Option<NewConversation> {
    commit.writes.iter().find_map(|write| match write {
        Write::Create(made) => Some(made.clone()),
        _ => None,
    })
}
