//! Words and the staff on the embedded store: what one start wrote, the next one knows.

use std::sync::Arc;
use std::time::Duration;

use im_testkit::memory::TokenTable;
use imkit::core::frame::ErrorCode;
use imkit::core::model::{CmId, Draft, NodeId, Target, Timestamp, UserId, Value};
use imkit::core::port::Identity;
use imkit::node::{Node, Settings};
use imkit::sql::{SqliteOptions, SqliteStore};

/// Lines in one call.
const PART: u32 = 2_000;
/// Calls: a list of so many parts.
const PARTS: u32 = 3;

async fn node(name: &str, store: &SqliteStore) -> Node {
    let settings = Settings {
        node: NodeId::new(name).unwrap(),
        lists: Duration::from_millis(50),
        ..Settings::default()
    };
    let auth = Arc::new(TokenTable::new());
    let builder = Node::builder(Arc::new(store.clone()), auth);
    builder.settings(settings).start().await.unwrap()
}

async fn act(node: &Node, method: &str, params: &str) -> Result<Value, ErrorCode> {
    let identity = Identity {
        user: UserId::new("boss").unwrap(),
        name: None,
        roles: vec!["admin".to_owned()],
        expires_at: Timestamp(i64::MAX),
    };
    let (service, params) = (node.service(), Value::from_json(params).unwrap());
    let done = service.call_as(&identity, method, params, None).await;
    done.map_err(|failure| failure.code)
}

async fn says(node: &Node, cm_id: &str, words: &str) -> Result<(), ErrorCode> {
    let (ana, ben) = (UserId::new("ana").unwrap(), UserId::new("ben").unwrap());
    let draft = Draft::text(CmId::new(cm_id).unwrap(), Target::User(ben), words);
    let sent = node.service().send(&ana, &draft).await;
    sent.map(drop).map_err(|failure| failure.code)
}

/// The store of a file, when whoever had it before has let go.
async fn again(file: &str) -> SqliteStore {
    for _ in 0..500 {
        match SqliteStore::connect_with(file, SqliteOptions::default()).await {
            Ok(store) => return store,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    panic!("the file is in use");
}

/// Different words of letters that are no other's traditional form.
fn word(n: u32) -> String {
    format!("q{n:05}z")
}

fn count(value: &Value, field: &str) -> usize {
    match value.get(field) {
        Some(Value::Array(items)) => items.len(),
        other => panic!("{field}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_staff_did_outlives_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.db");
    let file = file.to_str().unwrap();
    let store = again(file).await;
    let first = node("one", &store).await;
    for part in 0..PARTS {
        let lines = (part * PART..(part + 1) * PART).map(word);
        let lines: Vec<String> = lines.collect();
        let params = format!(r#"{{"lines":"{}"}}"#, lines.join("\\n"));
        let report = act(&first, "admin.words.import", &params).await.unwrap();
        assert_eq!(report.get("kept"), Some(&Value::Int(PART.into())));
    }
    let last = word(PARTS * PART - 1);
    let mut tries = 0;
    while says(&first, &format!("c{tries}"), &last).await != Err(ErrorCode::Rejected) {
        tries += 1;
        assert!(tries < 1_000, "the list is not in force");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    says(&first, "review-1", "fine").await.unwrap();
    let review = r#"{"word":"casino","level":"review"}"#;
    act(&first, "admin.words.add", review).await.unwrap();
    let ban = r#"{"user":"ben","why":"spam"}"#;
    act(&first, "admin.users.ban", ban).await.unwrap();
    let mute = r#"{"user":"cy","ms":60000,"why":"loud"}"#;
    act(&first, "admin.users.mute", mute).await.unwrap();
    first.shutdown().await;
    drop(first);
    store.close().await.unwrap();
    drop(store);
    let store = again(file).await;
    let second = node("two", &store).await;
    assert_eq!(says(&second, "d1", &last).await, Err(ErrorCode::Rejected));
    says(&second, "d2", "casino").await.unwrap();
    let waiting = act(&second, "admin.review.list", "{}").await.unwrap();
    assert_eq!(count(&waiting, "waiting"), 1);
    let ben = UserId::new("ben").unwrap();
    let none = Value::Object(Vec::new());
    let refused = second.service().call(&ben, "conv.list", none, None).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::Forbidden);
    let acts = act(&second, "audit.list", "{}").await.unwrap();
    assert_eq!(count(&acts, "acts"), PARTS as usize + 3);
    let days = act(&second, "admin.stats", "{}").await.unwrap();
    assert!(days.to_json().contains(r#""messages":"#));
    let groups = act(&second, "admin.groups.list", "{}").await.unwrap();
    assert_eq!(count(&groups, "groups"), 0);
    second.kill();
}
