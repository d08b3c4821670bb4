//! Tokens that end, and their renewal on the same connection.

use std::time::{Duration, Instant};

use im_core::model::DeviceId;
use im_core::port::Standing;

use crate::kit::{Kit, hello, user};
use crate::peer::{Heard, int, text};

const BEN: &str = r#"{"user":"ben"}"#;

#[tokio::test]
async fn a_token_that_ends_closes_the_connection_after_a_bye() {
    let kit = Kit::start().await;
    kit.token("short", "ana", 1_000);
    let mut ana = kit.silent().await;
    ana.say(&hello("short", "d")).await;
    let welcome = ana.get("welcome").await;
    assert!(int(&welcome, "expires_at") > int(&welcome, "now"));
    assert_eq!(int(&ana.get("bye").await, "code"), 4401);
    assert_eq!(ana.closed().await, 4401);
    let mut again = kit.silent().await;
    again.say(&hello("short", "d")).await;
    assert_eq!(again.closed().await, 4401);
}

#[tokio::test]
async fn a_renewal_is_the_same_users_and_good_or_changes_nothing() {
    let kit = Kit::start().await;
    kit.token("short", "ana", 2_000);
    kit.token("long", "ana", 60_000);
    kit.token("old", "ana", -1);
    let mut ana = kit.silent().await;
    ana.say(&hello("short", "d")).await;
    let welcome = ana.get("welcome").await;
    for (token, code) in [
        ("nobody", "unauthenticated"),
        ("old", "unauthenticated"),
        ("ben", "forbidden"),
    ] {
        ana.say(&format!(
            r#"{{"t":"auth","id":"{token}","token":"{token}"}}"#
        ))
        .await;
        let err = ana.get("err").await;
        assert_eq!(
            (text(&err, "code"), text(&err, "id")),
            (code.into(), token.into())
        );
    }
    ana.say(r#"{"t":"auth","id":1,"token":"long"}"#).await;
    let renewed = ana.get("res").await;
    let until = int(renewed.get("value").unwrap(), "expires_at");
    assert!(until > int(&welcome, "expires_at"));
    tokio::time::sleep(Duration::from_millis(2_600)).await;
    ana.say(r#"{"t":"ping"}"#).await;
    ana.get("pong").await;
}

#[tokio::test]
async fn who_is_banned_while_connected_is_told_at_once_and_gets_nothing_more() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut phone = kit.peer("ben", "phone").await;
    let mut tablet = kit.peer("ben", "tablet").await;
    let (ben, device) = (user("ben"), DeviceId::new("phone").unwrap());
    kit.node.revoke(&ben, Some(&device));
    ana.send("c1", BEN, "after").await;
    assert_eq!(int(&phone.next().await, "code"), 4403);
    assert_eq!(phone.hear().await, Heard::Close(4403));
    // The other device is none of that.
    assert_eq!(int(&tablet.get("entry").await, "seq"), 1);
    kit.directory.set(&ben, Standing::Banned);
    let start = Instant::now();
    kit.node.revoke(&ben, None);
    ana.send("c2", BEN, "after").await;
    assert_eq!(int(&tablet.next().await, "code"), 4403);
    assert_eq!(tablet.hear().await, Heard::Close(4403));
    assert!(start.elapsed() < Duration::from_secs(1));
    let mut again = kit.silent().await;
    again.say(&hello("ben", "phone")).await;
    assert_eq!(again.closed().await, 4403);
}
