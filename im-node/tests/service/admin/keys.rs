//! Keys of programs, as the staff makes and ends them.

use im_core::frame::ErrorCode;
use im_core::model::{Value, everyone};
use im_node::keys;

use crate::service::kit::{World, items, text};

const SHOP: &str = r#"{"name":"shop","user":"shop","methods":["messages.send"],"why":"orders"}"#;

#[tokio::test]
async fn a_key_is_shown_once_and_stands_in_no_log() {
    let world = World::new().await;
    let made = world.does("adm", "admin.keys.add", SHOP).await;
    let (id, key) = (text(&made, "id"), text(&made, "key"));
    let now = im_core::model::Timestamp(1);
    let found = keys::find(&*world.store, &key, now).await.unwrap();
    assert_eq!(
        (found.id.as_str(), found.user.as_str()),
        (id.as_str(), "shop")
    );
    let listed = world.does("adm", "admin.keys.list", "{}").await;
    assert_eq!(items(&listed, "keys").len(), 1);
    let (_, secret) = key.rsplit_once('_').unwrap();
    let bodies: Vec<_> = world
        .log(&everyone())
        .await
        .iter()
        .map(|it| it.body.value())
        .collect();
    assert!(!format!("{listed:?} {bodies:?}").contains(secret));
    let audit = world.does("adm", "audit.list", "{}").await;
    let acts = items(&audit, "acts");
    assert_eq!(
        (text(&acts[0], "op"), text(&acts[0], "key")),
        ("keys.add".into(), id.clone())
    );
    let params = format!(r#"{{"id":"{id}","why":"over"}}"#);
    world.does("adm", "admin.keys.revoke", &params).await;
    assert!(keys::find(&*world.store, &key, now).await.is_err());
    let again = world.call("adm", "admin.keys.revoke", &params).await;
    assert_eq!(again, Err(ErrorCode::NotFound));
}

#[tokio::test]
async fn what_is_wrong_about_a_key_is_named() {
    let world = World::new().await;
    for (from, to) in [
        (r#""name":"shop""#, r#""name":"""#),
        (r#"["messages.send"]"#, "[]"),
        (r#"["messages.send"]"#, r#"["*"]"#),
        (r#"["messages.send"]"#, "[1]"),
        (r#""why":"orders""#, r#""x":1"#),
        (r#""why""#, r#""expires_at":1,"why""#),
    ] {
        let params = SHOP.replace(from, to);
        let refused = world.call("adm", "admin.keys.add", &params).await;
        assert_eq!(refused.map(drop), Err(ErrorCode::BadFrame), "{params}");
    }
    let long = format!(r#"{{"id":"{}","why":"x"}}"#, "x".repeat(2_000));
    let refused = world.call("adm", "admin.keys.revoke", &long).await;
    assert_eq!(refused.map(|_: Value| ()), Err(ErrorCode::NotFound));
}
