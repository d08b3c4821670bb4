//! In which rounds a batch is done: what only appends goes to the hot tier, the rest to the store.

use std::collections::HashMap;

use im_core::model::ConversationId;
use im_core::port::{Commit, HotCommit, Write};

/// Commits of a batch that are done in one go, by their places in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) is_hot: bool,
    pub(crate) at: Vec<usize>,
}

/// The rounds of a batch, in order. Commits of one conversation keep theirs, and so do those with
/// records or blocks, which are nobody's conversation's.
pub(crate) fn rounds(batch: &[Commit]) -> Vec<Round> {
    let mut rounds: Vec<Round> = Vec::new();
    let mut last_of: HashMap<&ConversationId, usize> = HashMap::new();
    let mut last_of_records = 0;
    for (at, commit) in batch.iter().enumerate() {
        let is_hot = is_hot(commit);
        let after = last_of.get(&commit.conv).copied().unwrap_or_default();
        let has_record = commit.writes.iter().any(is_record);
        let after = if has_record {
            after.max(last_of_records)
        } else {
            after
        };
        let found = (after..rounds.len()).find(|round| rounds[*round].is_hot == is_hot);
        let round = found.unwrap_or_else(|| {
            let at = Vec::new();
            rounds.push(Round { is_hot, at });
            rounds.len() - 1
        });
        rounds[round].at.push(at);
        last_of.insert(&commit.conv, round);
        if has_record {
            last_of_records = round;
        }
    }
    rounds
}

const fn is_record(write: &Write) -> bool {
    matches!(
        write,
        Write::Record(_) | Write::Block { .. } | Write::Put(_)
    )
}

/// Whether the hot tier can take a commit: entries, then cursors, at least one of them.
fn is_hot(commit: &Commit) -> bool {
    let appends = |write: &&Write| matches!(write, Write::Append(_));
    let entries = commit.writes.iter().take_while(appends).count();
    let (entries, rest) = commit.writes.split_at(entries);
    let keys: Vec<_> = entries.iter().filter_map(key).collect();
    let twice = |(at, key): (usize, _)| keys[..at].contains(key);
    !commit.writes.is_empty()
        && rest.iter().all(|write| matches!(write, Write::Cursor(_)))
        && !keys.iter().enumerate().any(twice)
}

fn key(write: &Write) -> Option<(&im_core::model::UserId, &im_core::model::CmId)> {
    match write {
        Write::Append(entry) => Some((&entry.from, entry.cm_id.as_ref()?)),
        _ => None,
    }
}

/// A commit as the hot tier takes it.
pub(crate) fn hot_commit(commit: &Commit) -> HotCommit {
    let mut hot = HotCommit {
        conv: commit.conv.clone(),
        expect_version: commit.expect_version,
        has_actor: commit.actor.is_some(),
        entries: Vec::new(),
        cursors: Vec::new(),
        asked: None,
        floors: Vec::new(),
    };
    for write in &commit.writes {
        match write {
            Write::Append(entry) => hot.entries.push(entry.clone()),
            Write::Cursor(to) => hot.cursors.push(to.clone()),
            _ => {}
        }
    }
    hot
}

#[cfg(test)]
mod tests {
    use im_core::model::{Body, MessageId, NewEntry, Seq, Timestamp, UserId};
    use im_core::port::{CursorMove, Record, RecordKey};

    use super::*;

    fn user() -> UserId {
        UserId::new("al").unwrap()
    }

    fn say() -> Write {
        Write::Append(NewEntry {
            id: MessageId(1),
            from: user(),
            at: Timestamp(0),
            cm_id: None,
            digest: 0,
            body: Body::text("x"),
            reply_to: None,
            mentions: im_core::model::Mentions::None,
            expires_at: None,
        })
    }

    fn read() -> Write {
        Write::Cursor(CursorMove {
            user: user(),
            delivered: None,
            read: Some(Seq(1)),
        })
    }

    fn record() -> Write {
        Write::Record(Record {
            key: RecordKey::Answer {
                user: user(),
                key: "k".to_owned(),
            },
            value: String::new(),
            expires_at: Timestamp(0),
        })
    }

    fn commit(conv: &str, writes: &[Write]) -> Commit {
        Commit {
            conv: ConversationId::new(conv).unwrap(),
            expect_version: None,
            actor: None,
            writes: writes.to_vec(),
        }
    }

    fn planned(batch: &[Commit]) -> Vec<(bool, Vec<usize>)> {
        let rounds = rounds(batch).into_iter();
        rounds.map(|round| (round.is_hot, round.at)).collect()
    }

    #[test]
    fn each_conversation_keeps_its_order_and_nobody_waits_for_another() {
        let title = Write::Title(None);
        let batch = [
            commit("a", &[say()]),
            commit("b", &[title.clone(), say()]),
            commit("a", &[read()]),
            commit("b", &[say(), read()]),
            commit("a", std::slice::from_ref(&title)),
            commit("c", &[title]),
            commit("a", &[say()]),
        ];
        let expected = [
            (true, vec![0, 2]),
            (false, vec![1, 4, 5]),
            (true, vec![3, 6]),
        ];
        assert_eq!(planned(&batch), expected);
    }

    #[test]
    fn records_keep_their_order_over_all() {
        let batch = [
            commit("a", &[say()]),
            commit("a", &[record()]),
            commit("b", &[say()]),
            commit("c", &[record()]),
            commit("c", &[say()]),
            commit("c", &[record()]),
            commit("d", &[record()]),
        ];
        let expected = [
            (true, vec![0, 2]),
            (false, vec![1, 3]),
            (true, vec![4]),
            (false, vec![5, 6]),
        ];
        assert_eq!(planned(&batch), expected);
    }

    #[test]
    fn what_the_tier_can_not_decide_is_the_stores() {
        let hot = |writes: &[Write]| is_hot(&commit("a", writes));
        assert!(hot(&[say()]) && hot(&[read()]) && hot(&[say(), say(), read()]));
        assert!(!hot(&[]) && !hot(&[read(), say()]) && !hot(&[say(), record()]));
    }
}
