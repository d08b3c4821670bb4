//! What a [`MemoryStore`](super::MemoryStore) holds, and how it is read.

use std::collections::{BTreeMap, BTreeSet};

use im_core::model::{
    CmId, Conversation, ConversationId, Entry, Epoch, Fact, FactKey, Family, Member, Seq, Slot,
    Stamp, Stamps, Timestamp, UserId,
};
use im_core::port::{
    Changed, ChangedConversation, Departed, MembershipLine, MembershipPage, Record, RecordKey, View,
};

use super::shard::Held;

/// Where counting *say* entries for `unread` ends.
const UNREAD_MAX: usize = 999;

/// Everything; ordered maps, so that a run repeats exactly.
#[derive(Debug, Default, Clone)]
pub(super) struct State {
    pub(super) convs: BTreeMap<ConversationId, Log>,
    /// Which conversations a user is or was in.
    pub(super) lists: BTreeMap<UserId, BTreeSet<ConversationId>>,
    /// Conversations in the order of their last change.
    pub(super) changes: BTreeMap<Stamp, ConversationId>,
    pub(super) records: BTreeMap<RecordKey, Kept>,
    pub(super) facts: BTreeMap<FactKey, Fact>,
    /// The last stamp given.
    pub(super) stamp: Stamp,
    /// What it holds, if it is a shard.
    pub(super) held: Option<Held>,
    /// A shard that takes whatever comes: a planted bug.
    pub(super) is_unfenced: bool,
}

/// A record, and the slot that it goes with.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) slot: Slot,
    pub(super) record: Record,
}

/// One conversation.
#[derive(Debug, Clone)]
pub(super) struct Log {
    /// Its `head` and `member_count` are kept right by each commit.
    pub(super) conversation: Conversation,
    /// The entry of seq n is at n − 1.
    pub(super) entries: Vec<Entry>,
    pub(super) members: BTreeMap<UserId, Row>,
    pub(super) sent: BTreeMap<(UserId, CmId), Seq>,
    /// Its last change of head, title or members.
    pub(super) stamp: Stamp,
}

/// One member of a conversation, also after they left.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) member: Member,
    /// Their last change of membership or read cursor.
    pub(super) stamp: Stamp,
}

impl State {
    pub(super) fn view(&self, conv: &ConversationId, users: &[UserId]) -> Option<View> {
        let log = self.convs.get(conv)?;
        let rows = users.iter().filter_map(|user| log.members.get(user));
        Some(View {
            conversation: log.conversation.clone(),
            members: rows.map(|row| row.member.clone()).collect(),
        })
    }

    pub(super) fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Vec<Member> {
        let rows = self.convs.get(conv).map(|log| log.members.values());
        rows.into_iter()
            .flatten()
            .map(|row| &row.member)
            .filter(|member| member.is_in() && after.is_none_or(|after| member.user > *after))
            .take(limit)
            .cloned()
            .collect()
    }

    pub(super) fn memberships(
        &self,
        user: &UserId,
        since: Stamp,
        limit: usize,
        detail: bool,
    ) -> MembershipPage {
        let mut found: Vec<(Stamp, &Log, &Row)> = self
            .lists
            .get(user)
            .into_iter()
            .flatten()
            .filter_map(|conv| {
                let log = self.convs.get(conv)?;
                let row = log.members.get(user)?;
                Some((log.changed_for(row), log, row))
            })
            .filter(|(stamp, ..)| *stamp > since)
            .collect();
        found.sort_by_key(|(stamp, ..)| *stamp);
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map(|(stamp, ..)| *stamp);
        MembershipPage {
            lines: found
                .into_iter()
                .map(|(_, log, row)| log.line(row, detail))
                .collect(),
            stamps: Stamps::one(if more {
                last.unwrap_or(since)
            } else {
                self.stamp
            }),
            more,
        }
    }

    pub(super) fn changed(&self, since: Stamp, limit: usize) -> Changed {
        if limit == 0 || since >= self.stamp {
            return Changed {
                convs: Vec::new(),
                left: Vec::new(),
                stamps: Stamps::one(self.stamp),
                more: false,
            };
        }
        let mut found = self.changes.range(Stamp(since.0 + 1)..);
        let mut stamp = since;
        let mut convs = Vec::new();
        for (at, conv) in found.by_ref().take(limit) {
            stamp = *at;
            let there = self.convs.get(conv).map(|log| &log.conversation);
            convs.push(ChangedConversation {
                conv: conv.clone(),
                head: there.map_or(Seq(0), |it| it.head),
                epoch: there.map_or(Epoch(1), |it| it.epoch),
            });
        }
        let more = found.next().is_some();
        let stamp = if more { stamp } else { self.stamp };
        Changed {
            convs,
            left: self.left(since, stamp),
            stamps: Stamps::one(stamp),
            more,
        }
    }

    /// Who left after one stamp, and up to another.
    fn left(&self, since: Stamp, to: Stamp) -> Vec<Departed> {
        let changed = self.changes.range(Stamp(since.0 + 1)..);
        let logs = changed.filter_map(|(_, conv)| self.convs.get(conv));
        let rows = logs.flat_map(|log| log.members.values().map(move |row| (log, row)));
        rows.filter(|(_, row)| row.stamp > since && row.stamp <= to)
            .filter_map(|(log, Row { member, .. })| {
                Some(Departed {
                    conv: log.conversation.id.clone(),
                    user: member.user.clone(),
                    seq: member.left_seq?,
                })
            })
            .collect()
    }

    pub(super) fn record(&self, key: &RecordKey, now: Timestamp) -> Option<&Record> {
        let record = self.records.get(key).map(|kept| &kept.record);
        record.filter(|it| it.expires_at > now)
    }
}

impl Log {
    /// When this conversation last changed in that member's list. One who has left hears of
    /// their leaving, and of nothing that happens later.
    fn changed_for(&self, row: &Row) -> Stamp {
        if row.member.is_in() {
            row.stamp.max(self.stamp)
        } else {
            row.stamp
        }
    }

    fn line(&self, row: &Row, detail: bool) -> MembershipLine {
        let member = &row.member;
        let visible = if detail {
            self.visible(member)
        } else {
            &[] as &[Entry]
        };
        let unread: Vec<_> = visible
            .iter()
            .filter(|entry| {
                entry.seq > member.read
                    && entry.from != member.user
                    && entry.body.kind().family() == Family::Say
            })
            .take(UNREAD_MAX)
            .collect();
        let mentions = unread
            .iter()
            .filter(|it| it.mentions.includes(&member.user));
        MembershipLine {
            conversation: self.conversation.clone(),
            member: member.clone(),
            unread: unread.len() as u32,
            mentions: mentions.count() as u32,
            last: visible.last().cloned(),
        }
    }

    /// The entries that a member may see.
    pub(super) fn visible(&self, member: &Member) -> &[Entry] {
        let to = member.left_seq.unwrap_or(self.conversation.head).0 as usize;
        let from = member.first_seq.0.saturating_sub(1) as usize;
        self.entries.get(from..to).unwrap_or_default()
    }
}
