//! Short words.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Draft, Entry, Fact, FactKey, FactTable, Mentions,
    MessageId, NewEntry, Role, Seq, Target, Timestamp, UserId,
};
use im_core::port::{
    Commit, Committed, FactQuery, LogQuery, NewConversation, Put, Rejected, Store, Was, Write,
};
use im_store_sealed::{FileKeys, Sealed};

/// Two keys for tests; nobody else has them.
pub(crate) const ONE: &str = "1 rTXLJ3NoMeqPl24j6SzIuWJRu2rRBR0rWcRnxn0mSFU=";
pub(crate) const TWO: &str = "2 C4ne7PWcmhP9DhxhxpWqTgxrH0hjvE5lTiSR3u0h8Fw=";

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) fn ring(active: u32, keys: &[&str]) -> Arc<FileKeys> {
    let text = format!("active {active}\n{}", keys.join("\n"));
    Arc::new(FileKeys::parse(&text).unwrap())
}

pub(crate) async fn sealed(inner: Arc<dyn Store>) -> Arc<Sealed> {
    Arc::new(Sealed::open(inner, ring(1, &[ONE])).await.unwrap())
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn conv(id: &str) -> ConversationId {
    ConversationId::new(id).unwrap()
}

pub(crate) fn commit(id: &str, writes: Vec<Write>) -> Commit {
    Commit {
        conv: conv(id),
        expect_version: None,
        actor: None,
        writes,
    }
}

pub(crate) fn entry(from: &str, body: Body) -> NewEntry {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let cm_id = CmId::new(format!("m{id}")).unwrap();
    let draft = Draft {
        body,
        ..Draft::text(cm_id, Target::User(user(from)), "")
    };
    NewEntry {
        id: MessageId(id),
        from: user(from),
        at: Timestamp(1_790_000_000_000),
        cm_id: Some(draft.cm_id.clone()),
        digest: draft.digest(),
        body: draft.body,
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    }
}

pub(crate) async fn on(store: &dyn Store, commit: Commit) -> Result<Committed, Rejected> {
    store.commit(&[commit]).await.pop().unwrap()
}

pub(crate) async fn group(store: &dyn Store, id: &str, members: &[&str]) {
    let members = members.iter().map(|id| (user(id), Role::Member));
    let create = Write::Create(NewConversation {
        kind: ConversationKind::Group,
        title: None,
        hide_history: false,
        members: members.collect(),
    });
    on(store, commit(id, vec![create])).await.unwrap();
}

pub(crate) async fn say(store: &dyn Store, id: &str, from: &str, text: &str) -> NewEntry {
    let entry = entry(from, Body::text(text));
    on(store, commit(id, vec![Write::Append(entry.clone())]))
        .await
        .unwrap();
    entry
}

pub(crate) async fn log(store: &dyn Store, id: &str) -> Vec<Entry> {
    let query = LogQuery::After {
        seq: Seq(0),
        limit: 1_000,
        bytes: usize::MAX,
    };
    store.log(&conv(id), query).await.unwrap()
}

pub(crate) async fn texts(store: &dyn Store, id: &str) -> Vec<String> {
    let log = log(store, id).await;
    let text = |entry: &Entry| entry.body.as_text();
    log.iter()
        .map(|entry| text(entry).unwrap_or_else(|| entry.body.kind().as_str().to_owned()))
        .collect()
}

pub(crate) fn put(key: &FactKey, to: Option<&str>, was: Was) -> Commit {
    let put = Put {
        key: key.clone(),
        to: to.map(|value| (value.to_owned(), None)),
        was,
    };
    let place = key.place().unwrap();
    commit(place.as_str(), vec![Write::Put(put)])
}

pub(crate) fn draft(owner: &str) -> FactKey {
    FactKey::new(FactTable::Draft, owner, "g")
}

pub(crate) async fn fact(store: &dyn Store, key: &FactKey) -> Option<Fact> {
    let found = store.facts(&FactQuery::One(key.clone())).await;
    found.unwrap().pop()
}
