//! Cursors on their way to the store, and the receipts that tell of them.
//!
//! A move costs nothing until it is flushed with the others: `read` within half a second,
//! `delivered` within five. What a crash loses of them is at most that, and clients move them
//! again with their next ack.

use std::sync::Arc;
use std::time::Duration;

use im_core::frame::ServerFrame;
use im_core::model::{ConnectionId, Conversation, ConversationKind, Seq, UserId};
use im_core::port::{Commit, CursorMove, Write};

use crate::appender::{Submission, Waiter};
use crate::hub::LocalUser;
use crate::node::Inner;
use crate::rooms::LiveRoom;
use crate::router::BusMessage;

/// How often `read` cursors go to the store; `delivered` ones with every tenth flush.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
const DELIVERED_EVERY: u32 = 10;
/// Cursor moves that may wait; beyond it the next flush is at once.
const WAITING_MAX: usize = 50_000;
/// A member's `read` is passed on in a group at most this often.
const RECEIPT_EVERY: Duration = Duration::from_secs(1);
/// Groups up to this size are told who has read.
const RECEIPT_MEMBERS_MAX: u32 = 100;

/// Flushes cursors for as long as the node lives.
pub(crate) async fn run(inner: std::sync::Weak<Inner>) {
    let mut round = 0_u32;
    loop {
        tokio::time::sleep(FLUSH_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        round = round.wrapping_add(1);
        let full = inner.cursors.lock().len() > WAITING_MAX;
        inner.flush_cursors(full || round.is_multiple_of(DELIVERED_EVERY));
    }
}

/// Whether members are told how far the others are: not in large groups, and not in a channel,
/// where subscribers are not shown to each other.
pub(crate) fn tells_others(info: &Conversation) -> bool {
    match info.kind {
        ConversationKind::Direct => true,
        ConversationKind::Channel => false,
        _ => info.member_count <= RECEIPT_MEMBERS_MAX,
    }
}

impl Inner {
    /// A device says how far it is.
    pub(crate) fn move_cursor(
        self: &Arc<Self>,
        room: &LiveRoom,
        local: &LocalUser,
        conn: ConnectionId,
        seq: Seq,
        is_read: bool,
    ) {
        let now = self.clock.now();
        let mut state = room.state.lock();
        // A place beyond the head counts as the head.
        let Some(head) = state.machine.head() else {
            return;
        };
        let seq = seq.min(head);
        let Some(info) = &state.info else { return };
        let (kind, told) = (info.kind, tells_others(info));
        let Some(place) = state.places.get_mut(&local.id) else {
            return;
        };
        let member = &mut place.member;
        let moved = if is_read {
            member.read < seq
        } else {
            member.delivered < seq
        };
        if !moved {
            return;
        }
        member.delivered = member.delivered.max(seq);
        if is_read {
            member.read = seq;
        }
        let read = is_read.then_some(seq);
        self.queue_cursor(room, &local.id, seq, read);
        let receipt = ServerFrame::Receipt {
            conv: room.conv.clone(),
            user: local.id.clone(),
            delivered: (kind == ConversationKind::Direct).then_some(seq),
            read,
        };
        if is_read {
            local.send_receipt(&receipt, Some(conn));
        }
        let to_others = match kind {
            ConversationKind::Direct => true,
            _ if !is_read || !told => false,
            _ => {
                let last = state.receipts.insert(local.id.clone(), now);
                last.is_none_or(|last| now.saturating_duration_since(last) >= RECEIPT_EVERY)
            }
        };
        if to_others {
            for (user, other) in state.machine.users() {
                if *user != local.id {
                    other.send_receipt(&receipt, None);
                }
            }
        }
        drop(state);
        if (to_others || is_read)
            && let Some(receipt) = BusMessage::receipt(&receipt)
        {
            self.publish(&receipt);
        }
    }

    fn queue_cursor(&self, room: &LiveRoom, user: &UserId, delivered: Seq, read: Option<Seq>) {
        let mut cursors = self.cursors.lock();
        let key = (room.conv.clone(), user.clone());
        let waiting = cursors.entry(key).or_insert_with(|| CursorMove {
            user: user.clone(),
            delivered: None,
            read: None,
        });
        waiting.delivered = waiting.delivered.max(Some(delivered));
        waiting.read = waiting.read.max(read);
    }

    /// Sends cursor moves to the store: those with a `read`, or all.
    pub(crate) fn flush_cursors(&self, all: bool) {
        let due: Vec<_> = {
            let mut cursors = self.cursors.lock();
            if all {
                std::mem::take(&mut *cursors).into_iter().collect()
            } else {
                cursors
                    .extract_if(.., |_, waiting| waiting.read.is_some())
                    .collect()
            }
        };
        for ((conv, user), cursor) in due {
            let writes = vec![Write::Cursor(cursor)];
            let commit = Commit {
                conv,
                expect_version: None,
                actor: None,
                writes,
            };
            let submission = Submission {
                commit,
                waiter: Waiter::None,
            };
            if let Err(refused) = self.appender.submit(submission) {
                // The lane is full: the next flush tries again.
                for write in refused.commit.writes {
                    let Write::Cursor(cursor) = write else {
                        continue;
                    };
                    let key = (refused.commit.conv.clone(), user.clone());
                    self.cursors.lock().entry(key).or_insert(cursor);
                }
            }
        }
    }

    /// Before a user's cursors are read from the store: what waits goes there first.
    pub(crate) async fn settle_cursors(&self, user: &UserId) {
        let due: Vec<_> = {
            let mut cursors = self.cursors.lock();
            cursors
                .extract_if(.., |(_, of), waiting| of == user && waiting.read.is_some())
                .collect()
        };
        for ((conv, _), cursor) in due {
            let writes = vec![Write::Cursor(cursor)];
            // A store that fails now fails the read that follows.
            let _ = self
                .appender
                .commit(Commit {
                    conv,
                    expect_version: None,
                    actor: None,
                    writes,
                })
                .await;
        }
    }
}
