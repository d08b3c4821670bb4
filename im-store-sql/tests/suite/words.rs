//! Short words for commits.

use std::sync::atomic::{AtomicU64, Ordering};

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Timestamp,
    UserId,
};
use im_core::port::{Commit, NewConversation, Write};

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn commit(conv: &str, writes: Vec<Write>) -> Commit {
    Commit {
        conv: ConversationId::new(conv).unwrap(),
        expect_version: None,
        actor: None,
        writes,
    }
}

pub(crate) fn create(conv: &str) -> Commit {
    let members = vec![(user("ana"), Role::Owner), (user("ben"), Role::Member)];
    let new = NewConversation {
        kind: ConversationKind::Group,
        title: None,
        hide_history: false,
        members,
    };
    commit(conv, vec![Write::Create(new)])
}

pub(crate) fn say(conv: &str, text: &str) -> Commit {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let entry = NewEntry {
        id: MessageId(id),
        from: user("ana"),
        at: Timestamp(1_790_000_000_000),
        cm_id: Some(CmId::new(text).unwrap()),
        digest: 7,
        body: Body::text(text),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    commit(conv, vec![Write::Append(entry)])
}
