//! The sweep: every few seconds the store is asked what changed, and whoever the hints did not
//! reach is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use im_core::frame::ConvLine;
use im_core::model::{ConversationId, Seq, Stamps, UserId};
use im_core::port::{
    Changed, ChangedConversation, Commit, Departed, PortError, Record, RecordKey, Write,
};

use crate::joining::{announce, line};
use crate::node::Inner;
use crate::rooms::LiveRoom;

/// Conversations asked of the store per step of the sweep.
const SWEEP_LIMIT: usize = 500;
/// Members of a conversation without a room here that one step looks through.
const SWEEP_MEMBERS: usize = 200;
/// Users asked for at once when a large conversation without a room here changed.
const SWEEP_USERS: usize = 500;
/// How long to wait before members that could not be read are looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long what was written to try the store is kept, in milliseconds.
const PROBE_MS: u64 = 60_000;

pub(super) async fn sweep(
    inner: std::sync::Weak<Inner>,
    mut stamps: Stamps,
    poke: Arc<tokio::sync::Notify>,
) {
    loop {
        let Some(every) = inner.upgrade().map(|inner| inner.settings.sweep) else {
            return;
        };
        // Whichever comes first; both mean the same.
        let _ = tokio::time::timeout(every, poke.notified()).await;
        let Some(inner) = inner.upgrade() else { return };
        match inner.sweep_once(stamps.clone()).await {
            Ok(next) => stamps = next,
            Err(error) => tracing::warn!(%error, "the sweep could not read the store"),
        }
        if !inner.store_ok.load(Ordering::Acquire) {
            inner.try_store().await;
        }
        inner.rooms.reap();
    }
}

impl Inner {
    /// Asks the store what changed, and brings the rooms up to it.
    async fn sweep_once(self: &Arc<Self>, mut stamps: Stamps) -> Result<Stamps, PortError> {
        loop {
            let Changed {
                convs,
                left,
                stamps: next,
                more,
            } = self.store.changed(&stamps, SWEEP_LIMIT).await?;
            for gone in left {
                self.tell_departed(&gone).await?;
            }
            for changed in convs {
                match self.rooms.get(&changed.conv) {
                    Some(room) => self.bring_up(&room, &changed).await?,
                    None => self.look_for_members(&changed.conv, changed.head).await?,
                }
            }
            stamps = next;
            if !more {
                return Ok(stamps);
            }
        }
    }

    /// Somebody left a conversation. Their room told them, if it held them; if it did not, as the
    /// news that they were a member had been lost, nobody has.
    async fn tell_departed(self: &Arc<Self>, gone: &Departed) -> Result<(), PortError> {
        let Departed { conv, user, seq } = gone;
        let Some(local) = self.hub.get(user) else {
            return Ok(());
        };
        let _gate = local.gate.lock().await;
        let room = self.rooms.get(conv);
        let is_in = room.is_some_and(|room| room.state.lock().machine.get(user).is_some());
        if is_in || local.parted(conv) >= Some(*seq) {
            return Ok(());
        }
        let Some(view) = self.store.view(conv, std::slice::from_ref(user)).await? else {
            return Ok(());
        };
        let left = view
            .members
            .first()
            .and_then(|member| Some((member, member.left_seq?)));
        if let Some((member, last_seq)) = left {
            local.note_parted(conv, last_seq);
            let line = line(&view.conversation, member);
            announce(
                &local,
                &ConvLine {
                    last_seq,
                    left: true,
                    ..line
                },
            );
        }
        Ok(())
    }

    /// A conversation changed that has a room here.
    async fn bring_up(
        self: &Arc<Self>,
        room: &Arc<LiveRoom>,
        changed: &ChangedConversation,
    ) -> Result<(), PortError> {
        let head = changed.head;
        let known = room.state.lock().machine.epoch();
        if known.is_some_and(|known| known < changed.epoch)
            && let Some(view) = self.store.view(&room.conv, &[]).await?
        {
            // The log lost its end: whoever is here begins it anew.
            let mut state = room.state.lock();
            state.learn(&view.conversation);
            self.drain(room, state);
        }
        let checked = {
            let mut state = room.state.lock();
            state.machine.handle_head(head);
            let checked = state.checked;
            self.drain(room, state);
            checked
        };
        if !checked {
            // Who was connected here and became a member before the room began is not in it when
            // the news of that were lost.
            self.look_for_members(&room.conv, head).await?;
            room.state.lock().checked = true;
        }
        Ok(())
    }

    /// A room missed entries for good: whom they made members was not told.
    pub(crate) async fn look_after_gap(self: &Arc<Self>, conv: &ConversationId, head: Seq) {
        while let Err(error) = self.look_for_members(conv, head).await {
            tracing::warn!(%error, "the members of a conversation could not be read");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A conversation changed: do any of those connected belong to it who are in no room of it?
    async fn look_for_members(
        self: &Arc<Self>,
        conv: &ConversationId,
        head: Seq,
    ) -> Result<(), PortError> {
        if self
            .own_heads
            .lock()
            .get(conv)
            .is_some_and(|own| *own >= head)
        {
            return Ok(());
        }
        let Some(view) = self.store.view(conv, &[]).await? else {
            return Ok(());
        };
        let mut found = Vec::new();
        if view.conversation.member_count as usize <= SWEEP_MEMBERS {
            let members = self.store.members(conv, None, SWEEP_MEMBERS).await?;
            found.extend(members.into_iter().map(|member| member.user));
        } else {
            for users in self.hub.user_ids().chunks(SWEEP_USERS) {
                let Some(view) = self.store.view(conv, users).await? else {
                    break;
                };
                found.extend(
                    view.members
                        .into_iter()
                        .filter(|m| m.is_in())
                        .map(|m| m.user),
                );
            }
        }
        let room = self.rooms.get(conv);
        if let Some(room) = &room {
            // It may be younger than the question what changed.
            let mut state = room.state.lock();
            state.machine.handle_head(head);
            self.drain(room, state);
        }
        let is_in = |user: &UserId| {
            let state = room.as_ref().map(|room| room.state.lock());
            state.is_some_and(|state| state.machine.get(user).is_some())
        };
        for local in self.hub.among(&found) {
            if is_in(&local.id) {
                continue;
            }
            let (inner, conv) = (Arc::clone(self), conv.clone());
            self.spawn(async move { inner.join_new(&local, &conv, head.next()).await });
        }
        Ok(())
    }

    /// The last commit failed: tries one that changes nothing that anybody sees, since a node that
    /// is not ready may get no other to try.
    async fn try_store(&self) {
        let name = self.settings.node.as_str();
        let (Ok(conv), Ok(user)) = (ConversationId::new(name), UserId::new(name)) else {
            return;
        };
        let record = Record {
            key: RecordKey::Answer {
                user,
                key: format!("probe-{}", self.ids.next()),
            },
            value: "null".to_owned(),
            expires_at: self.clock.timestamp().plus_ms(PROBE_MS),
        };
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes: vec![Write::Record(record)],
        };
        // Whether it succeeded, the lane has noted.
        let _ = self.appender.commit(commit).await;
    }
}
