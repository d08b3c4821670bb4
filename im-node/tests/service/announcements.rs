//! Announcements, and who has confirmed them.

use im_core::frame::ErrorCode;
use im_core::model::{ConversationId, Kind, Value};

use super::kit::{World, each, int, text};

async fn announce(world: &World, g: &ConversationId, words: &str) -> String {
    let rest = format!(r#","title":"T","text":"{words}""#);
    let made = world.does_in("al", "announcements.add", g, &rest).await;
    format!(r#","id":"{}""#, text(&made, "id"))
}

#[tokio::test]
async fn an_announcement_is_read_and_confirmed_by_each() {
    let world = World::new().await;
    let g = world.group("al", &["bo", "cy"]).await;
    let first = announce(&world, &g, "One\\ntwo").await;
    let second = announce(&world, &g, "three").await;
    let list = world.does_in("bo", "announcements.list", &g, "").await;
    assert_eq!(each(&list, "announcements", "text"), ["One\ntwo", "three"]);
    assert_eq!(each(&list, "announcements", "by"), ["al", "al"]);
    for _ in 0..2 {
        world
            .does_in("bo", "announcements.confirm", &g, &first)
            .await;
    }
    world
        .does_in("cy", "announcements.confirm", &g, &second)
        .await;
    let readers = async |id: &str| {
        let page = world.does_in("cy", "announcements.readers", &g, id).await;
        (each(&page, "readers", "user"), int(&page, "members"))
    };
    assert_eq!(readers(&first).await, (vec!["bo".to_owned()], 3));
    assert_eq!(readers(&second).await, (vec!["cy".to_owned()], 3));
    let list = world
        .does_in("bo", "announcements.list", &g, "")
        .await
        .to_json();
    assert_eq!(list.matches("\"confirmed\":true").count(), 1);
    use ErrorCode::{BadFrame, Forbidden, NotFound, TooLarge};
    for method in ["announcements.add", "announcements.remove"] {
        let rest = format!(r#"{first},"text":"x""#);
        world.fails_in("bo", method, &g, &rest, Forbidden).await;
        world.fails_in("zo", method, &g, &rest, NotFound).await;
    }
    for method in ["list", "confirm", "readers"] {
        let method = format!("announcements.{method}");
        world.fails_in("zo", &method, &g, &first, NotFound).await;
    }
    for (rest, code) in [
        ("".to_owned(), BadFrame),
        (r#","text":"""#.to_owned(), BadFrame),
        (r#","text":"a\u202eb""#.to_owned(), BadFrame),
        (format!(r#","text":"{}""#, "x".repeat(4_001)), TooLarge),
        (
            format!(r#","text":"x","title":"{}""#, "x".repeat(201)),
            TooLarge,
        ),
        (r#","text":"x","topic":"t""#.to_owned(), BadFrame),
    ] {
        world
            .fails_in("al", "announcements.add", &g, &rest, code)
            .await;
    }
    for id in [r#","id":"x""#, r#","id":"-1""#, r#","id":7"#, ""] {
        world
            .fails_in("al", "announcements.confirm", &g, id, BadFrame)
            .await;
    }
    world
        .fails_in("al", "announcements.confirm", &g, r#","id":"7""#, NotFound)
        .await;
}

#[tokio::test]
async fn what_is_ended_is_gone_from_the_log_and_from_who_confirmed() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let id = announce(&world, &g, "secret").await;
    world.does_in("bo", "announcements.confirm", &g, &id).await;
    for _ in 0..2 {
        world.does_in("al", "announcements.remove", &g, &id).await;
    }
    world
        .fails_in("bo", "announcements.confirm", &g, &id, ErrorCode::NotFound)
        .await;
    world
        .fails_in("bo", "announcements.readers", &g, &id, ErrorCode::NotFound)
        .await;
    let log = world.log(&g).await;
    assert!(
        log.iter()
            .all(|entry| !entry.body.json().contains("secret"))
    );
    let kinds: Vec<_> = log.iter().map(|entry| entry.body.kind()).collect();
    assert_eq!(kinds, [Kind::Group, Kind::Erased, Kind::Announce]);
    for n in 0..50 {
        announce(&world, &g, &format!("n{n}")).await;
    }
    let rest = r#","text":"x""#;
    world
        .fails_in("al", "announcements.add", &g, rest, ErrorCode::Conflict)
        .await;
    let first = world.does_in("bo", "announcements.list", &g, "").await;
    assert_eq!(each(&first, "announcements", "text").len(), 20);
    let mut all = each(&first, "announcements", "text");
    let mut next = first;
    while let Some(after) = next.get("next").and_then(Value::as_text).map(str::to_owned) {
        let rest = format!(r#","after":"{after}""#);
        next = world.does_in("bo", "announcements.list", &g, &rest).await;
        all.extend(each(&next, "announcements", "text"));
    }
    assert_eq!(all.len(), 50);
}

#[tokio::test]
async fn who_confirmed_is_kept_where_it_is_bounded() {
    let world = World::new().await;
    let names: Vec<String> = (0..499).map(|n| format!("u{n}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let g = world.group("al", &ids).await;
    let id = announce(&world, &g, "x").await;
    world.does_in("u1", "announcements.confirm", &g, &id).await;
    world
        .does_in("al", "groups.add", &g, r#","users":["one-more"]"#)
        .await;
    world
        .fails_in("u2", "announcements.confirm", &g, &id, ErrorCode::TooLarge)
        .await;
    world
        .fails_in("u2", "announcements.readers", &g, &id, ErrorCode::TooLarge)
        .await;
    let c = world.channel("al", r#","open":true"#).await;
    let id = announce(&world, &c, "x").await;
    world.does_in("u1", "groups.join", &c, "").await;
    world.does_in("u1", "announcements.list", &c, "").await;
    world
        .fails_in("u1", "announcements.readers", &c, &id, ErrorCode::Forbidden)
        .await;
}

#[tokio::test]
async fn who_is_muted_announces_nothing() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let role = r#","user":"bo","role":"admin""#;
    world.does_in("al", "groups.role", &g, role).await;
    let words = format!(r#"{{"conv":"{}","title":"T","text":"x"}}"#, g.as_str());
    world.does("bo", "announcements.add", &words).await;
    let muted = r#","user":"bo","ms":60000"#;
    world.does_in("al", "groups.mute", &g, muted).await;
    let refused = world.call("bo", "announcements.add", &words).await;
    assert_eq!(refused, Err(ErrorCode::Muted));
    let everywhere = r#"{"user":"al","ms":60000,"why":"x"}"#;
    world.does("adm", "admin.users.mute", everywhere).await;
    let refused = world.call("al", "announcements.add", &words).await;
    assert_eq!(refused, Err(ErrorCode::Muted));
}
