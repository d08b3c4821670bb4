//! Links by which one comes in.

use std::time::Duration;

use im_core::frame::ErrorCode;
use im_core::model::Value;

use super::kit::{World, each, int, text};

const TEXT: &str = r#"{"kind":"text","text":"x"}"#;

fn token(value: &Value) -> String {
    format!(r#"{{"token":"{}"}}"#, text(value, "token"))
}

#[tokio::test]
async fn who_has_a_link_sees_what_it_leads_to_and_comes_in() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    world
        .does_in("al", "groups.set", &g, r#","about":"Us""#)
        .await;
    let made = world
        .does_in("al", "invites.create", &g, r#","note":"poster""#)
        .await;
    let link = token(&made);
    assert_eq!(text(&made, "token").split_once('.').unwrap().0.len(), 64);
    let other = world.does_in("al", "invites.create", &g, "").await;
    assert_ne!(token(&other), link);
    let seen = world.call("dy", "invites.get", &link).await.unwrap();
    assert_eq!(
        (text(&seen, "title"), int(&seen, "members")),
        ("G".into(), 2)
    );
    assert_eq!(text(&seen, "about"), "Us");
    assert_eq!(seen.get("staff"), None);
    for _ in 0..2 {
        let joined = world.call("dy", "invites.join", &link).await.unwrap();
        assert_eq!(text(&joined, "conv"), g.as_str());
    }
    world.body("dy", &g, TEXT).await.unwrap();
    let list = world.does_in("al", "invites.list", &g, "").await;
    let Some(Value::Array(invites)) = list.get("invites") else {
        panic!("{list:?}")
    };
    let used: i64 = invites.iter().map(|invite| int(invite, "used")).sum();
    assert_eq!((invites.len(), used), (2, 1));
    assert_eq!(each(&list, "invites", "note"), ["poster"]);
    // The secret stands in no entry.
    let secret = text(&made, "token")[..64].to_owned();
    let log = world.log(&g).await;
    assert!(log.iter().all(|entry| !entry.body.json().contains(&secret)));
    world
        .fails_in("bo", "invites.list", &g, "", ErrorCode::Forbidden)
        .await;
    world
        .fails_in("zo", "invites.list", &g, "", ErrorCode::NotFound)
        .await;
    world
        .fails_in("zo", "invites.create", &g, "", ErrorCode::NotFound)
        .await;
}

#[tokio::test]
async fn a_link_ends_by_time_by_use_by_its_makers_going_and_when_it_is_revoked() {
    let world = World::with(|settings| settings.due = Duration::from_millis(20)).await;
    let g = world.group("al", &["bo"]).await;
    world
        .does_in("al", "groups.role", &g, r#","user":"bo","role":"admin""#)
        .await;
    let make = async |who: &str, rest: &str| {
        let made = world.does_in(who, "invites.create", &g, rest).await;
        token(&made)
    };
    let refused = async |who: &str, link: &str| {
        for method in ["invites.get", "invites.join"] {
            let refused = world.call(who, method, link).await;
            assert_eq!(refused, Err(ErrorCode::NotFound), "{method}");
        }
    };
    let short = make("al", r#","ms":200"#).await;
    let once = make("al", r#","uses":1"#).await;
    let of_bo = make("bo", "").await;
    let gone = make("al", "").await;
    world.call("cy", "invites.join", &once).await.unwrap();
    refused("dy", &once).await;
    // To one who is in, it still leads there.
    world.call("cy", "invites.join", &once).await.unwrap();
    for who in ["cy", "dy"] {
        let refused = world.call(who, "invites.revoke", &gone).await;
        let code = if who == "cy" {
            ErrorCode::Forbidden
        } else {
            ErrorCode::NotFound
        };
        assert_eq!(refused, Err(code));
    }
    for _ in 0..2 {
        world.call("bo", "invites.revoke", &gone).await.unwrap();
    }
    refused("dy", &gone).await;
    world.call("dy", "invites.get", &of_bo).await.unwrap();
    world
        .does_in("al", "groups.role", &g, r#","user":"bo","role":"member""#)
        .await;
    refused("dy", &of_bo).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    refused("dy", &short).await;
    // What has ended is taken away.
    let listed = async || {
        let list = world.does_in("al", "invites.list", &g, "").await;
        each(&list, "invites", "token").len()
    };
    let gone = async {
        while listed().await > 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), gone).await;
    assert!(in_time.is_ok());
    assert_eq!(listed().await, 2);
}

#[tokio::test]
async fn what_is_no_link_leads_nowhere_and_links_are_bounded() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    let made = world.does_in("al", "invites.create", &g, "").await;
    let whole = text(&made, "token");
    let other = format!("{}0.{}", &whole[..63], g.as_str());
    let upper = whole.to_uppercase();
    for bad in [
        "",
        ".",
        "x",
        g.as_str(),
        &whole[1..],
        &whole[..64],
        &format!("{}.none", &whole[..64]),
        &other,
        &upper,
        "../../../../etc/passwd",
    ] {
        if *bad == whole {
            continue;
        }
        let params = Value::object([("token", Value::from(bad))]).to_json();
        for method in ["invites.get", "invites.join", "invites.revoke"] {
            let refused = world.call("bo", method, &params).await;
            assert_eq!(refused, Err(ErrorCode::NotFound), "{method} {bad}");
        }
    }
    for rest in [
        r#","ms":0"#,
        r#","ms":31622400001"#,
        r#","uses":0"#,
        r#","uses":100001"#,
        r#","uses":"x""#,
        r#","note":"a\u202eb""#,
    ] {
        world
            .fails_in("al", "invites.create", &g, rest, ErrorCode::BadFrame)
            .await;
    }
    for _ in 1..100 {
        world.does_in("al", "invites.create", &g, "").await;
    }
    world
        .fails_in("al", "invites.create", &g, "", ErrorCode::Conflict)
        .await;
    let first = world.does_in("al", "invites.list", &g, "").await;
    assert_eq!(each(&first, "invites", "token").len(), 50);
    let rest = format!(r#","after":"{}""#, text(&first, "next"));
    let second = world.does_in("al", "invites.list", &g, &rest).await;
    assert_eq!(each(&second, "invites", "token").len(), 50);
}
