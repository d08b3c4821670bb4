//! Where users want to be pushed to.

use im_core::frame::ErrorCode;
use im_core::model::{DeviceId, Value};
use im_core::port::{Directory, Standing};

use super::kit::{World, eventually, items, text, user};

fn web(device: &str, rest: &str) -> String {
    let (key, auth) = ("B".repeat(87), "A".repeat(22));
    format!(
        r#"{{"device":"{device}","data":{{"endpoint":"https://push.example/{device}",
            "p256dh":"{key}","auth":"{auth}"}}{rest}}}"#
    )
}

#[tokio::test]
async fn a_device_has_one_subscription_which_its_user_alone_sees_and_ends() {
    let world = World::new().await;
    for params in [web("a", ""), web("b", ""), web("a", r#","text":false"#)] {
        world.gives("al", "push.subscribe", &params, "{}").await;
    }
    let both = r#"{"devices":[{"device":"a","kind":"web","text":false},
        {"device":"b","kind":"web","text":true}],"more":false}"#;
    world.gives("al", "push.list", "{}", both).await;
    let none = r#"{"devices":[],"more":false}"#;
    world.gives("bo", "push.list", "{}", none).await;
    world
        .gives("bo", "push.unsubscribe", r#"{"device":"a"}"#, "{}")
        .await;
    world.gives("al", "push.list", "{}", both).await;
    for device in ["a", "b"] {
        let params = format!(r#"{{"device":"{device}"}}"#);
        world.gives("al", "push.unsubscribe", &params, "{}").await;
    }
    world.gives("al", "push.list", "{}", none).await;
}

#[tokio::test]
async fn subscriptions_are_checked_and_bounded() {
    let world = World::new().await;
    for params in [
        "{}".to_owned(),
        r#"{"device":"a"}"#.to_owned(),
        r#"{"device":"a","data":1}"#.to_owned(),
        r#"{"device":"a","data":{"endpoint":"https://x"}}"#.to_owned(),
        web("a", "").replace("https", "javascript"),
        web("a", "").replace("BBBB", ""),
        web(&"x".repeat(200), ""),
        web("a", r#","kind":"""#),
        format!(
            r#"{{"device":"a","kind":"apns","data":{{"t":"{}"}}}}"#,
            "x".repeat(3_000)
        ),
    ] {
        let refused = world.call("al", "push.subscribe", &params).await;
        assert_eq!(refused, Err(ErrorCode::BadFrame), "{params}");
    }
    for n in 0..20 {
        world
            .gives("al", "push.subscribe", &web(&format!("d{n}"), ""), "{}")
            .await;
    }
    let more = world.call("al", "push.subscribe", &web("more", "")).await;
    assert_eq!(more, Err(ErrorCode::Conflict));
    world
        .gives("al", "push.subscribe", &web("d7", ""), "{}")
        .await;
    let other = r#"{"device":"a","kind":"apns","data":{"token":"x"}}"#;
    world.gives("bo", "push.subscribe", other, "{}").await;
}

#[tokio::test]
async fn a_device_that_is_revoked_or_sent_away_is_pushed_to_no_more() {
    let world = World::new().await;
    for device in ["a", "b", "c"] {
        let params = web(device, "");
        world.gives("al", "push.subscribe", &params, "{}").await;
    }
    let left = async || -> Vec<String> {
        let listed = world.does("al", "push.list", "{}").await;
        let listed = items(&listed, "devices");
        listed.iter().map(|one| text(one, "device")).collect()
    };
    let device = DeviceId::new("a").unwrap();
    world.node.revoke(&user("al"), Some(&device));
    eventually(async || left().await == ["b", "c"]).await;
    let kick = r#"{"user":"al","device":"c","why":"stolen"}"#;
    world.does("mod", "admin.users.kick", kick).await;
    eventually(async || left().await == ["b"]).await;
}

#[tokio::test]
async fn a_node_says_who_may_be_told_anything() {
    let world = World::new().await;
    let both = [user("al"), user("bo")];
    let ban = r#"{"user":"al","why":"spam"}"#;
    world.does("mod", "admin.users.ban", ban).await;
    let standing = world.node.standing(&both).await.unwrap();
    assert_eq!(standing, [Standing::Banned, Standing::Active]);
    let unban = r#"{"user":"al","why":"a mistake"}"#;
    world.does("mod", "admin.users.unban", unban).await;
    let standing = world.node.standing(&both).await.unwrap();
    assert_eq!(standing, [Standing::Active, Standing::Active]);
}

#[tokio::test]
async fn conversations_are_muted_until_a_time_or_for_ever() {
    let world = World::new().await;
    world
        .gives("al", "push.mute", r#"{"conv":"g","until":5}"#, "{}")
        .await;
    world
        .gives("al", "push.mute", r#"{"conv":"h"}"#, "{}")
        .await;
    let mutes = r#"{"mutes":[{"conv":"g","until":5},{"conv":"h","until":0}],"more":false}"#;
    world.gives("al", "push.mutes", "{}", mutes).await;
    world
        .gives("al", "push.mute", r#"{"conv":"g","on":false}"#, "{}")
        .await;
    let rest = r#"{"mutes":[{"conv":"h","until":0}],"more":false}"#;
    world.gives("al", "push.mutes", "{}", rest).await;
}

#[tokio::test]
async fn a_page_is_given_the_servers_key_if_there_is_one() {
    let world = World::new().await;
    let none = world.call("al", "push.key", "{}").await;
    assert_eq!(none, Err(ErrorCode::NotFound));
    let world = World::with(|settings| settings.push_key = Some("BP4z".to_owned())).await;
    let key = world.call("al", "push.key", "{}").await.unwrap();
    assert_eq!(key.get("key").and_then(Value::as_text), Some("BP4z"));
}
