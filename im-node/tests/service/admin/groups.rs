//! Groups and channels in the staff's hands.

use im_core::frame::ErrorCode;
use im_core::model::{Target, Value, direct_id};

use crate::service::kit::{World, items, text, user};

fn of(conv: &im_core::model::ConversationId, rest: &str) -> String {
    format!(r#"{{"conv":"{}"{rest}}}"#, conv.as_str())
}

#[tokio::test]
async fn groups_and_channels_are_listed_and_nothing_else() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let made = world
        .does("al", "channels.create", r#"{"title":"C"}"#)
        .await;
    let hi = world.draft(Target::User(user("bo")), r#"{"kind":"text","text":"hi"}"#);
    world.send("al", &hi).await.unwrap();
    // The audit log is a conversation of its own by now.
    world
        .does("adm", "admin.words.add", r#"{"word":"darn"}"#)
        .await;
    let mut listed = Vec::new();
    let mut params = r#"{"limit":1}"#.to_owned();
    for _ in 0..9 {
        let page = world.does("aud", "admin.groups.list", &params).await;
        listed.extend(items(&page, "groups").iter().map(|line| text(line, "conv")));
        if page.get("more") == Some(&Value::Bool(false)) {
            break;
        }
        params = format!(r#"{{"limit":1,"after":"{}"}}"#, text(&page, "next"));
    }
    assert_eq!(listed, [g.as_str(), &text(&made, "conv")]);
    let shown = world.does("aud", "admin.groups.get", &of(&g, "")).await;
    assert_eq!(shown.get("members"), Some(&Value::Int(2)));
    let bad = world
        .call("aud", "admin.groups.list", r#"{"after":"?"}"#)
        .await;
    assert_eq!(bad, Err(ErrorCode::BadFrame));
}

#[tokio::test]
async fn the_staff_removes_and_mutes_anybody() {
    let world = World::new().await;
    let g = world.group("al", &["bo", "cy"]).await;
    let mute = of(&g, r#","user":"al","ms":60000,"why":"loud""#);
    world.does("mod", "admin.groups.mute", &mute).await;
    let hi = r#"{"kind":"text","text":"hi"}"#;
    assert_eq!(world.body("al", &g, hi).await, Err(ErrorCode::Muted));
    let remove = of(&g, r#","users":["al","bo","no"],"why":"raid""#);
    world.does("mod", "admin.groups.remove", &remove).await;
    let left = world.does("aud", "admin.groups.members", &of(&g, "")).await;
    let left = items(&left, "members");
    assert_eq!(
        left.iter()
            .map(|line| text(line, "user"))
            .collect::<Vec<_>>(),
        ["cy"]
    );
    assert_eq!(world.body("al", &g, hi).await, Err(ErrorCode::NotMember));
    let gone = of(&g, r#","user":"al","ms":1,"why":"loud""#);
    let refused = world.call("mod", "admin.groups.mute", &gone).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
    // What could not be done stands in the log as that.
    let acts = world
        .does("aud", "audit.list", r#"{"op":"groups.mute"}"#)
        .await;
    assert_eq!(text(&items(&acts, "acts")[0], "failed"), "not_found");
}

#[tokio::test]
async fn who_is_closed_has_nobody_and_nobody_comes() {
    let world = World::new().await;
    let many: Vec<String> = (0..499).map(|n| format!("u{n:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let g = world.group("al", &many).await;
    world
        .does("al", "groups.set", &of(&g, r#","join":"open""#))
        .await;
    world.does("zed", "groups.join", &of(&g, "")).await;
    let close = of(&g, r#","why":"against the rules""#);
    let refused = world.call("mod", "admin.groups.close", &close).await;
    assert_eq!(refused, Err(ErrorCode::Forbidden));
    let without = world.call("adm", "admin.groups.close", &of(&g, "")).await;
    assert_eq!(without, Err(ErrorCode::BadFrame));
    let closed = r#"{"removed":501,"more":false}"#;
    world
        .gives("adm", "admin.groups.close", &close, closed)
        .await;
    let again = r#"{"removed":0,"more":false}"#;
    world
        .gives("adm", "admin.groups.close", &close, again)
        .await;
    for (who, method, code) in [
        ("al", "groups.join", ErrorCode::Forbidden),
        ("new", "groups.join", ErrorCode::NotFound),
        ("al", "conv.get", ErrorCode::NotMember),
    ] {
        let refused = world.call(who, method, &of(&g, "")).await;
        assert_eq!(refused, Err(code), "{who} {method}");
    }
}

#[tokio::test]
async fn what_nobody_is_in_any_more_is_closed_as_well() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    let open = of(&g, r#","join":"open""#);
    world.does("al", "groups.set", &open).await;
    world.does("zed", "groups.join", &of(&g, "")).await;
    for who in ["zed", "al"] {
        world.does(who, "groups.leave", &of(&g, "")).await;
    }
    let close = of(&g, r#","why":"against the rules""#);
    let closed = r#"{"removed":0,"more":false}"#;
    world
        .gives("adm", "admin.groups.close", &close, closed)
        .await;
    let refused = world.call("new", "groups.join", &of(&g, "")).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
    // Nodes on which somebody is connected hear that nobody speaks.
    let log = world.log(&g).await;
    let last = log.last().unwrap().body.value();
    assert_eq!(text(&last, "kind"), "group");
    assert_eq!(text(&last, "speaks"), "nobody");
}

#[tokio::test]
async fn what_is_no_group_has_no_members_to_act_on() {
    let world = World::new().await;
    let hi = world.draft(Target::User(user("bo")), r#"{"kind":"text","text":"hi"}"#);
    world.send("al", &hi).await.unwrap();
    world
        .does("adm", "admin.words.add", r#"{"word":"darn"}"#)
        .await;
    let direct = direct_id(&user("al"), &user("bo"));
    for (conv, code) in [
        (direct, ErrorCode::Forbidden),
        (im_core::model::everyone(), ErrorCode::NotFound),
        (
            im_core::model::ConversationId::new("none").unwrap(),
            ErrorCode::NotFound,
        ),
    ] {
        for (method, rest) in [
            ("admin.groups.get", ""),
            ("admin.groups.members", ""),
            ("admin.groups.close", r#","why":"x""#),
            ("admin.groups.remove", r#","users":["al"],"why":"x""#),
            ("admin.groups.mute", r#","user":"al","ms":1,"why":"x""#),
        ] {
            let refused = world.call("adm", method, &of(&conv, rest)).await;
            assert_eq!(refused, Err(code), "{method} {conv}");
        }
    }
}
