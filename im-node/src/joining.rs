//! Who is connected here enters the rooms of their conversations, and leaves them.

use std::sync::Arc;
use std::time::Duration;

use im_core::frame::{ConvLine, ServerFrame};
use im_core::model::{Conversation, ConversationId, Member, Seq, UserId, Value};

use crate::hub::LocalUser;
use crate::node::Inner;
use crate::outgoing::OutEntry;
use crate::rooms::{LiveRoom, RoomState};
use crate::veil::Veil;

/// How often a join is tried again because the members changed while it read them.
pub(crate) const JOIN_TRIES_MAX: u32 = 10;
/// How long a join that failed waits before it is tried again.
const JOIN_RETRY: Duration = Duration::from_millis(250);

impl Inner {
    /// Those of these users who are connected here join, if they are members.
    pub(crate) fn join_later(
        self: &Arc<Self>,
        conv: &ConversationId,
        users: &[UserId],
        first_push: Seq,
    ) {
        for local in self.hub.among(users) {
            let (inner, conv) = (Arc::clone(self), conv.clone());
            self.spawn(async move { inner.join_new(&local, &conv, first_push).await });
        }
    }

    /// A user who is connected here became a member: their line first, then what is pushed.
    pub(crate) async fn join_new(
        self: &Arc<Self>,
        local: &Arc<LocalUser>,
        conv: &ConversationId,
        first_push: Seq,
    ) {
        // Nobody comes by again until the conversation changes, so it is tried for as long as they
        // are connected.
        while !local.is_forgotten() && !self.try_join_new(local, conv, first_push).await {
            tokio::time::sleep(JOIN_RETRY).await;
        }
    }

    /// False when it must be tried again.
    async fn try_join_new(
        self: &Arc<Self>,
        local: &Arc<LocalUser>,
        conv: &ConversationId,
        first_push: Seq,
    ) -> bool {
        let _gate = local.gate.lock().await;
        for _ in 0..JOIN_TRIES_MAX {
            let users = [local.id.clone()];
            let view = match self.store.view(conv, &users).await {
                Ok(Some(view)) => view,
                Ok(None) => return true,
                Err(error) => {
                    tracing::warn!(%error, "a member could not join their room");
                    return false;
                }
            };
            let Some(member) = view.members.into_iter().find(Member::is_in) else {
                return true;
            };
            if local.is_forgotten() {
                return true;
            }
            let mut done = false;
            let room = self.open_room(conv, |room, state| {
                if state
                    .version()
                    .is_some_and(|known| known > view.conversation.version)
                {
                    return;
                }
                // Also one who is in it by now: the news that made the room may have been old ones,
                // and the sweep that found this user have passed the later.
                done = state.learn(&view.conversation);
                if !done {
                    return;
                }
                if state.machine.get(&local.id).is_some() {
                    return state.place(member.clone());
                }
                self.join_with_recent(room, state, local, member.clone(), first_push);
            });
            if done {
                self.drain(&room, room.state.lock());
                return true;
            }
        }
        tracing::warn!("a member could not join their room: its members change too fast");
        false
    }

    /// Joins so that `first_push` is the first entry pushed if the room still has it.
    fn join_with_recent(
        &self,
        room: &Arc<LiveRoom>,
        state: &mut RoomState,
        local: &Arc<LocalUser>,
        member: Member,
        first_push: Seq,
    ) {
        let Some(info) = state.info.clone() else {
            return;
        };
        // They may have become a member later than what made somebody look for them.
        let first_push = first_push.max(member.first_seq);
        let before = Seq(first_push.0.saturating_sub(1));
        let head = state.machine.head().unwrap_or(info.head);
        let recent = if before < head {
            state.machine.recent(before, usize::MAX)
        } else {
            Some(Vec::new())
        };
        let (told, recent) = match recent {
            Some(recent) => (before, recent),
            None => (head, Vec::new()),
        };
        announce(
            local,
            &ConvLine {
                last_seq: told,
                ..line(&info, &member)
            },
        );
        let run: Vec<_> = recent
            .into_iter()
            .map(|entry| Arc::new(OutEntry::new(entry)))
            .collect();
        let veil = Veil::over(info.kind, &run);
        let shown = veil.shown_to(&local.id, Some(member.role));
        let pushed = local.push_entries(self.clock.now(), room.known(state), told, &shown);
        metrics::counter!("im_deliveries_total").increment(pushed);
        enter(room, state, local, member, head.max(told));
    }
}

/// A member is here from now on.
pub(crate) fn enter(
    room: &Arc<LiveRoom>,
    state: &mut RoomState,
    local: &Arc<LocalUser>,
    member: Member,
    after: Seq,
) {
    state
        .machine
        .handle_join(local.id.clone(), Arc::clone(local), after);
    state.places.remove(&local.id);
    state.place(member);
    local.forget_parted(&room.conv);
    local
        .rooms
        .lock()
        .insert(room.conv.clone(), Arc::clone(room));
    // They may have been forgotten meanwhile, and their parting not have seen this room.
    if local.is_forgotten() {
        leave(room, state, local);
    }
}

/// A user has no connection here any more.
pub(crate) fn leave(room: &LiveRoom, state: &mut RoomState, local: &LocalUser) {
    state.machine.handle_part(&local.id);
    state.places.remove(&local.id);
    local.rooms.lock().remove(&room.conv);
}

/// Tells a user's devices of a conversation that is new to them.
pub(crate) fn announce(local: &LocalUser, line: &ConvLine) {
    let event = Value::object([("kind", Value::from("conv")), ("line", line.to_value())]);
    local.send(&ServerFrame::Event(event), None);
}

/// A user's line of a conversation. `unread` is the most that it can be: it counts every entry
/// above the read cursor.
pub(crate) fn line(info: &Conversation, member: &Member) -> ConvLine {
    let seen = Seq(member.read.0.max(member.first_seq.0.saturating_sub(1)));
    ConvLine {
        conv: info.id.clone(),
        kind: info.kind,
        title: info.title.clone(),
        epoch: info.epoch,
        first_seq: member.first_seq,
        last_seq: info.head,
        read_seq: member.read,
        unread: u32::try_from(info.head.0.saturating_sub(seen.0))
            .unwrap_or(u32::MAX)
            .min(999),
        mentions: 0,
        last: None,
        left: false,
    }
}
