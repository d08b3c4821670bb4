//! The staff's methods by both doors, and who is shut out by either.

use im_core::model::{Timestamp, Value};
use im_core::port::{Identity, Standing};

use crate::http::ask;
use crate::kit::{Kit, hello, user};
use crate::peer::{int, text};

/// Makes the token of a member of the staff good.
fn staff(kit: &Kit, token: &str, role: &str) {
    let identity = Identity {
        user: user(token),
        name: None,
        roles: vec![role.to_owned()],
        expires_at: Timestamp(i64::MAX),
    };
    kit.tokens.insert(token, identity);
}

#[tokio::test]
async fn roles_come_from_the_token_by_either_door() {
    let kit = Kit::start().await;
    staff(&kit, "boss", "admin");
    let mut boss = kit.peer("boss", "d").await;
    let days = boss.call("admin.stats", "{}").await;
    assert!(matches!(days.get("days"), Some(Value::Array(_))));
    for (token, status) in [("boss", 200), ("ana", 403), ("nobody", 401)] {
        let (given, words) = ask(kit.address, "GET", "/v1/admin/stats", token, "").await;
        assert_eq!(given, status, "{token}: {words}");
    }
    // What another role would allow is asked of the token that was shown last.
    let identity = Identity {
        user: user("boss"),
        name: None,
        roles: vec!["auditor".to_owned()],
        expires_at: Timestamp(i64::MAX),
    };
    kit.tokens.insert("less", identity);
    boss.say(r#"{"t":"auth","id":1,"token":"less"}"#).await;
    boss.get("res").await;
    boss.say(r#"{"t":"req","id":2,"method":"admin.words.list"}"#)
        .await;
    assert_eq!(boss.refused().await, "forbidden");
}

#[tokio::test]
async fn who_is_banned_is_shut_out_by_both_doors() {
    let kit = Kit::start().await;
    staff(&kit, "boss", "admin");
    let mut ben = kit.peer("ben", "d").await;
    let ban = r#"{"why":"spam"}"#;
    let path = "/v1/admin/users/ben/ban";
    let (status, words) = ask(kit.address, "PUT", path, "boss", ban).await;
    assert_eq!(status, 200, "{words}");
    assert_eq!(int(&ben.get("bye").await, "code"), 4403);
    assert_eq!(ben.closed().await, 4403);
    let mut again = kit.silent().await;
    again.say(&hello("ben", "d")).await;
    assert_eq!(again.closed().await, 4403);
    let message = r#"{"cm_id":"c","to":{"user":"ana"},"body":{"kind":"text","text":"x"}}"#;
    for (verb, path, body) in [
        ("POST", "/v1/messages", message),
        ("GET", "/v1/sync", ""),
        ("POST", "/v1/reports", r#"{"user":"ana","reason":"spam"}"#),
    ] {
        let (status, words) = ask(kit.address, verb, path, "ben", body).await;
        assert_eq!(status, 403, "{path}: {words}");
    }
    let (status, _) = ask(kit.address, "DELETE", path, "boss", r#"{"why":"no"}"#).await;
    assert_eq!(status, 200);
    kit.peer("ben", "d").await;
}

#[tokio::test]
async fn whom_the_directory_calls_banned_does_nothing_by_http() {
    let kit = Kit::start().await;
    assert_eq!(ask(kit.address, "GET", "/v1/sync", "ben", "").await.0, 200);
    kit.directory.set(&user("ben"), Standing::Banned);
    let (status, words) = ask(kit.address, "GET", "/v1/sync", "ben", "").await;
    assert_eq!(status, 403, "{words}");
    assert_eq!(
        text(&Value::from_json(&words).unwrap(), "code"),
        "forbidden"
    );
}
