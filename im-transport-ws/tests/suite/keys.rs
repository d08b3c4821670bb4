//! Programs with a key of their own, and who asks too often.

use im_core::model::{FactKey, FactTable, Timestamp};
use im_core::port::{FactQuery, Store as _};
use im_node::keys::{self, NewKey};

use crate::http::ask;
use crate::kit::{Kit, hello, user};
use crate::peer::{int, text};

fn new(methods: &[&str], expires_at: Option<i64>) -> NewKey {
    NewKey {
        name: "the shop".to_owned(),
        user: user("shop"),
        methods: methods.iter().map(|&one| one.to_owned()).collect(),
        expires_at: expires_at.map(Timestamp),
    }
}

fn draft(n: usize) -> String {
    format!(r#"{{"cm_id":"c{n}","to":{{"user":"ben"}},"body":{{"kind":"text","text":"paid"}}}}"#)
}

#[tokio::test]
async fn who_has_a_key_sends_as_its_user_and_does_nothing_else() {
    let kit = Kit::start().await;
    let made = keys::make(&*kit.store, new(&["messages.send"], None), Timestamp(1)).await;
    let (key, secret) = made.unwrap();
    let mut ben = kit.peer("ben", "d").await;
    let (status, sent) = ask(kit.address, "POST", "/v1/messages", &secret, &draft(1)).await;
    assert_eq!(status, 200, "{sent}");
    assert_eq!(text(&ben.get("entry").await, "from"), "shop");
    for (verb, path) in [
        ("GET", "/v1/sync"),
        ("POST", "/v1/groups"),
        ("PUT", "/v1/profile"),
    ] {
        let (status, words) = ask(kit.address, verb, path, &secret, "{}").await;
        assert_eq!(status, 403, "{path}: {words}");
    }
    // A key opens no connection.
    let mut peer = kit.silent().await;
    peer.say(&hello(&secret, "d")).await;
    assert_eq!(peer.closed().await, 4401);
    assert!(keys::revoke(&*kit.store, &key.id).await.unwrap());
    let (status, _) = ask(kit.address, "POST", "/v1/messages", &secret, &draft(2)).await;
    assert_eq!(status, 401);
    assert!(!keys::revoke(&*kit.store, &key.id).await.unwrap());
}

#[tokio::test]
async fn a_key_that_is_none_or_over_is_refused() {
    let kit = Kit::start().await;
    let made = keys::make(&*kit.store, new(&["messages.*"], Some(2)), Timestamp(1)).await;
    let (over, over_secret) = made.unwrap();
    let made = keys::make(&*kit.store, new(&["messages.*"], None), Timestamp(1)).await;
    let (good, secret) = made.unwrap();
    let (_, other) = secret.rsplit_once('_').unwrap();
    let mixed = format!("imk_{}_{other}", over.id);
    let short = &secret[..secret.len() - 1];
    let long = format!("imk_{}_x", "0".repeat(5_000));
    for bad in [
        &over_secret,
        &mixed,
        short,
        &long,
        "imk_",
        "imk__",
        "imk_x_",
    ] {
        let (status, words) = ask(kit.address, "POST", "/v1/messages", bad, &draft(1)).await;
        assert_eq!(status, 401, "{bad}: {words}");
    }
    let (status, _) = ask(kit.address, "POST", "/v1/messages", &secret, &draft(1)).await;
    assert_eq!(status, 200);
    // What is secret stands nowhere.
    let fact = FactQuery::One(FactKey::new(FactTable::ApiKey, "", good.id.as_str()));
    let kept = kit.store.facts(&fact).await.unwrap().pop().unwrap();
    assert!(!kept.value.contains(other), "{}", kept.value);
    let all = keys::all(&*kit.store).await.unwrap();
    assert_eq!(all.len(), 2);
    assert!(!format!("{all:?}").contains(other));
}

#[tokio::test]
async fn what_is_no_key_is_not_made() {
    let kit = Kit::start().await;
    for bad in [
        new(&[], None),
        new(&["*"], None),
        new(&[""], None),
        new(&["messages.send"; 65], None),
        new(&["messages.send"], Some(0)),
        NewKey {
            name: "a\nb".to_owned(),
            ..new(&["messages.send"], None)
        },
        NewKey {
            name: "x".repeat(65),
            ..new(&["messages.send"], None)
        },
    ] {
        let case = format!("{bad:?}");
        assert!(
            keys::make(&*kit.store, bad, Timestamp(1)).await.is_err(),
            "{case}"
        );
    }
}

#[tokio::test]
async fn who_asks_too_often_by_http_is_told_when_to_come_back() {
    let kit = Kit::with(|settings| {
        settings.rates.writes_per_s = 2;
        settings.limits.sends_per_s = 2;
    })
    .await;
    let put = || {
        ask(
            kit.address,
            "PUT",
            "/v1/profile",
            "ana",
            r#"{"name":"Ana"}"#,
        )
    };
    for _ in 0..4 {
        assert_eq!(put().await.0, 200);
    }
    let (status, words) = put().await;
    assert_eq!(status, 429, "{words}");
    assert!(
        words.contains("rate_limited") && words.contains("retry_after_ms"),
        "{words}"
    );
    // Others, and what only reads, are not concerned.
    let body = r#"{"name":"Ben"}"#;
    assert_eq!(
        ask(kit.address, "PUT", "/v1/profile", "ben", body).await.0,
        200
    );
    assert_eq!(
        ask(kit.address, "GET", "/v1/privacy", "ana", "").await.0,
        200
    );
    let made = keys::make(&*kit.store, new(&["messages.send"], None), Timestamp(1)).await;
    let (_, secret) = made.unwrap();
    let mut statuses = Vec::new();
    for n in 0..6 {
        statuses.push(
            ask(kit.address, "POST", "/v1/messages", &secret, &draft(n))
                .await
                .0,
        );
    }
    assert_eq!(statuses[..4], [200; 4]);
    assert!(statuses[4..].contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn a_device_that_runs_wild_leaves_room_for_the_others() {
    let kit = Kit::with(|settings| settings.rates.reads_per_s = 4).await;
    let mut wild = kit.peer("ana", "wild").await;
    let ask = |id: usize| format!(r#"{{"t":"req","id":{id},"method":"privacy.get"}}"#);
    for id in 0..4 {
        wild.say(&ask(id)).await;
        wild.get("res").await;
    }
    wild.say(&ask(4)).await;
    let err = wild.get("err").await;
    assert_eq!(text(&err, "code"), "rate_limited");
    assert!((1..=500).contains(&int(&err, "retry_after_ms")));
    let mut other = kit.peer("ana", "other").await;
    other.say(&ask(1)).await;
    other.get("res").await;
}
