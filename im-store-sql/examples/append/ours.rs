//! The store.

use std::time::Instant;

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Timestamp,
    UserId,
};
use im_core::port::{Commit, NewConversation, Store, Write};

use crate::{CONVERSATIONS, SECONDS, body};

/// Rows a second.
pub(crate) async fn rate(store: &dyn Store, batch: usize, prefix: &str) -> f64 {
    let conv = |n: usize| ConversationId::new(format!("conv-{prefix}-{n}")).unwrap();
    let user = |n: usize| UserId::new(format!("user-{n}")).unwrap();
    let made: Vec<Commit> = (0..CONVERSATIONS)
        .map(|n| Commit {
            conv: conv(n),
            expect_version: None,
            actor: None,
            writes: vec![Write::Create(NewConversation {
                kind: ConversationKind::Group,
                title: None,
                hide_history: false,
                members: vec![(user(n), Role::Owner)],
            })],
        })
        .collect();
    assert!(store.commit(&made).await.iter().all(Result::is_ok));
    let (body, mut n) = (body(), 0_usize);
    let started = Instant::now();
    while started.elapsed() < SECONDS {
        let commits: Vec<Commit> = (0..batch)
            .map(|_| {
                n += 1;
                append(conv(n % CONVERSATIONS), user(n % CONVERSATIONS), n, &body)
            })
            .collect();
        assert!(store.commit(&commits).await.iter().all(Result::is_ok));
    }
    n as f64 / started.elapsed().as_secs_f64()
}

fn append(conv: ConversationId, from: UserId, n: usize, body: &Body) -> Commit {
    let entry = NewEntry {
        id: MessageId(n as u64),
        from,
        at: Timestamp(n as i64),
        cm_id: Some(CmId::new(format!("m-{n:012}")).unwrap()),
        digest: n as u64,
        body: body.clone(),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Commit {
        conv,
        expect_version: None,
        actor: None,
        writes: vec![Write::Append(entry)],
    }
}
