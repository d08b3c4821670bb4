//! Tokens that end, and their renewal on the same connection.

use crate::kit::{Kit, hello};
use crate::peer::{int, text};

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
    tokio::time::sleep(std::time::Duration::from_millis(2_600)).await;
    ana.say(r#"{"t":"ping"}"#).await;
    ana.get("pong").await;
}
