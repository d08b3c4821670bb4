//! What lies below a sealed store.

use std::path::Path;
use std::sync::Arc;

use im_core::model::{Body, FactKey, FactTable, Kind, Seq, Timestamp};
use im_core::port::{PortErrorKind, Rejected, Store, Was, Write};
use im_core::rule::{EditMark, Mark, mark_key};
use im_store_sealed::Sealed;
use im_store_sql::SqliteStore;
use im_testkit::memory::MemoryStore;

use crate::kit::*;

/// No other text of a store has it.
const WORD: &str = "Rhabarberkuchen";

/// Everything that people write, once.
async fn write_all(store: &dyn Store) {
    group(store, "g", &["al", "bo"]).await;
    for kind in Kind::ALL {
        let is_said = im_core::model::Family::Say == kind.family();
        if is_said || matches!(kind, Kind::Edit | Kind::Announce) {
            let body = Body::of(*kind, [("text", WORD.into()), ("target", Seq(1).0.into())]);
            let write = Write::Append(entry("al", body));
            on(store, commit("g", vec![write])).await.unwrap();
        }
    }
    let value = format!("{{\"text\":\"{WORD}\"}}");
    for table in [FactTable::Draft, FactTable::Profile, FactTable::Scheduled] {
        let key = FactKey::new(table, "al", "");
        on(store, put(&key, Some(&value), Was::Any)).await.unwrap();
    }
    for table in [
        FactTable::Friend,
        FactTable::FriendRequest,
        FactTable::FriendAsked,
    ] {
        let key = FactKey::new(table, "al", "bo");
        on(store, put(&key, Some(&value), Was::Any)).await.unwrap();
    }
    let key = FactKey::new(FactTable::Report, "open", "1");
    let report = format!("{{\"body\":\"{WORD}\",\"by\":\"bo\",\"from\":\"al\"}}");
    on(store, put(&key, Some(&report), Was::Any)).await.unwrap();
    assert_eq!(fact(store, &key).await.unwrap().value, report);
    let mark = Mark::Edit(EditMark {
        text: WORD.to_owned(),
        by: user("al"),
        at: Timestamp(1),
        entries: Vec::new(),
    });
    let key = mark_key("g", Seq(1), "e");
    on(store, put(&key, Some(&mark.value()), Was::Any))
        .await
        .unwrap();
    assert_eq!(fact(store, &key).await.unwrap().value, mark.value());
}

/// Whether any file of a folder holds a text.
fn holds(folder: &Path, word: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap();
    let mut found = false;
    for file in files {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        found |= bytes.windows(word.len()).any(|it| it == word.as_bytes());
    }
    found
}

/// Neither the database, nor its journal, nor what it keeps between the two holds what was written.
#[tokio::test]
async fn no_file_of_sqlite_holds_a_word() {
    for is_sealed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("im.db").display());
        let inner = Arc::new(SqliteStore::connect(&url).await.unwrap());
        if is_sealed {
            write_all(&*sealed(Arc::clone(&inner) as _).await).await;
        } else {
            write_all(&*inner).await;
        }
        // Before and after the journal is in the database.
        assert!(holds(folder.path(), "im_entry"));
        assert_eq!(holds(folder.path(), WORD), !is_sealed);
        inner.close().await.unwrap();
        assert_eq!(holds(folder.path(), WORD), !is_sealed);
    }
}

/// The same short text has another digest in each place, so nobody can try which text it is of.
#[tokio::test]
async fn a_digest_does_not_give_a_short_text_away() {
    let inner = Arc::new(MemoryStore::new());
    let store = sealed(Arc::clone(&inner) as _).await;
    group(&*store, "g", &["al"]).await;
    let mut digests = Vec::new();
    for _ in 0..3 {
        digests.push(say(&*store, "g", "al", "yes").await.digest);
    }
    let below = log(&*inner, "g").await;
    for (at, entry) in below.iter().enumerate() {
        assert!(!digests.contains(&entry.digest));
        assert!(below[..at].iter().all(|it| it.digest != entry.digest));
    }
    let above = log(&*store, "g").await;
    assert!(above.iter().all(|entry| digests.contains(&entry.digest)));
}

/// What somebody with the database puts in another place, cuts, or swaps says nothing there.
#[tokio::test]
async fn what_is_moved_or_cut_reads_as_erased() {
    let inner = Arc::new(MemoryStore::new());
    let store = sealed(Arc::clone(&inner) as _).await;
    for id in ["g", "h"] {
        group(&*store, id, &["al", "bo"]).await;
        say(&*store, id, "al", "mine").await;
        say(&*store, id, "bo", "yours").await;
    }
    let below = log(&*inner, "g").await;
    let copy = |at: usize| below[at].new.clone();
    let mut forged = vec![copy(0); 4];
    // Another's words as one's own; another place; a part of it.
    forged[0].body = copy(1).body;
    forged[1].from = user("bo");
    let json = copy(0).body.json().to_string();
    let cut = format!("{}\"}}", &json[..json.len() - 6]);
    forged[2].body = Body::from_stored(Kind::Text, cut.as_str().into());
    forged[3].id = im_core::model::MessageId(999);
    for entry in &mut forged {
        entry.cm_id = None;
        let write = Write::Append(entry.clone());
        on(&*inner, commit("g", vec![write])).await.unwrap();
    }
    on(&*inner, commit("h", vec![Write::Append(copy(0))]))
        .await
        .unwrap();
    let read = texts(&*store, "g").await;
    assert_eq!(read[..2], ["mine", "yours"]);
    assert!(read[2..].iter().all(|text| text == "erased"), "{read:?}");
    assert_eq!(texts(&*store, "h").await, ["mine", "yours", "erased"]);
    // A fact of one user is none of another.
    let (mine, yours) = (draft("al"), draft("bo"));
    on(&*store, put(&mine, Some("\"x\""), Was::Any))
        .await
        .unwrap();
    let stored = fact(&*inner, &mine).await.unwrap().value;
    on(&*inner, put(&yours, Some(&stored), Was::Any))
        .await
        .unwrap();
    let read = fact(&*store, &yours).await.unwrap().value;
    assert_eq!(read, format!(" {stored}"));
    on(&*store, put(&yours, None, Was::Value(read)))
        .await
        .unwrap();
    assert_eq!(fact(&*store, &yours).await, None);
}

/// What was stored before there was sealing is read as it was, changed and removed.
#[tokio::test]
async fn what_was_stored_in_plain_is_read_and_changed() {
    let inner = Arc::new(MemoryStore::new());
    group(&*inner, "g", &["al"]).await;
    let old = say(&*inner, "g", "al", "old").await;
    on(&*inner, put(&draft("al"), Some("{\"a\":1}"), Was::Any))
        .await
        .unwrap();
    let store = sealed(Arc::clone(&inner) as _).await;
    say(&*store, "g", "al", "new").await;
    assert_eq!(texts(&*store, "g").await, ["old", "new"]);
    assert_eq!(log(&*store, "g").await[0].new, old);
    let read = fact(&*store, &draft("al")).await.unwrap().value;
    let value = im_core::model::Value::from_json(&read).unwrap();
    assert_eq!(value.to_json(), "{\"a\":1}");
    let change = put(&draft("al"), Some("{\"a\":2}"), Was::Value(read));
    on(&*store, change).await.unwrap();
    let read = fact(&*store, &draft("al")).await.unwrap().value;
    assert_eq!(read, "{\"a\":2}");
    assert!(
        !fact(&*inner, &draft("al"))
            .await
            .unwrap()
            .value
            .contains("\"a\"")
    );
    on(&*store, put(&draft("al"), None, Was::Value(read)))
        .await
        .unwrap();
}

/// The host's own transaction has the same, when it is sealed before it begins.
#[tokio::test]
async fn what_a_host_commits_itself_is_sealed_first() {
    let inner = Arc::new(MemoryStore::new());
    let store = sealed(Arc::clone(&inner) as _).await;
    group(&*store, "g", &["al"]).await;
    let plain = commit("g", vec![Write::Append(entry("al", Body::text(WORD)))]);
    let sealed = store.seal(&[plain]).await.unwrap();
    assert!(!format!("{sealed:?}").contains(WORD));
    on(&*inner, sealed.into_iter().next().unwrap())
        .await
        .unwrap();
    assert_eq!(texts(&*store, "g").await, [WORD]);
}

/// When a user's key is deleted, what they wrote is gone for everybody, and the log is whole.
#[tokio::test]
async fn without_their_key_what_a_user_wrote_is_gone() {
    let inner = Arc::new(MemoryStore::new());
    let store = sealed(Arc::clone(&inner) as _).await;
    group(&*store, "g", &["al", "bo"]).await;
    let first = say(&*store, "g", "al", "1").await;
    say(&*store, "g", "bo", "2").await;
    on(&*store, put(&draft("al"), Some("\"x\""), Was::Any))
        .await
        .unwrap();
    assert!(store.delete_key(&user("al"), Timestamp(5)).await.unwrap());
    assert!(!store.delete_key(&user("al"), Timestamp(6)).await.unwrap());
    let fresh: Arc<dyn Store> = Arc::new(
        Sealed::open(Arc::clone(&inner) as _, ring(1, &[ONE]))
            .await
            .unwrap(),
    );
    for store in [Arc::clone(&store) as Arc<dyn Store>, fresh] {
        assert_eq!(texts(&*store, "g").await[..2], ["erased", "2"]);
        // Nobody takes the name: a message of theirs is refused, and those of others are not.
        let theirs = Write::Append(entry("al", Body::text("3")));
        let both = [
            commit("g", vec![theirs]),
            commit("g", vec![Write::Append(entry("bo", Body::text("4")))]),
        ];
        let answers = store.commit(&both).await;
        let Err(Rejected::Store(error)) = &answers[0] else {
            panic!("it is written");
        };
        assert_eq!(error.kind(), PortErrorKind::Fenced);
        assert!(answers[1].is_ok());
        assert_eq!(log(&*store, "g").await[0].id, first.id);
        // What they noted can be read by nobody, and removed.
        let read = fact(&*store, &draft("al")).await.unwrap().value;
        assert!(read.starts_with(" {\"of\""));
    }
    let lost = fact(&*store, &draft("al")).await.unwrap().value;
    on(&*store, put(&draft("al"), None, Was::Value(lost)))
        .await
        .unwrap();
}
