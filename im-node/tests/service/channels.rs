//! Channels: the directory, what subscribers see of each other, what they want to be told of.

use std::time::Duration;

use im_core::frame::ErrorCode;
use im_core::model::{ConversationId, Value};

use super::kit::{World, each, int, text};

const TEXT: &str = r#"{"kind":"text","text":"x"}"#;
/// Longer than the directory takes to hear of a change on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

async fn titles(world: &World, q: &str) -> Vec<String> {
    let params = Value::object([("q", Value::from(q))]).to_json();
    let params = if q.is_empty() { "{}" } else { &params };
    let found = world.call("zo", "channels.find", params).await.unwrap();
    each(&found, "channels", "title")
}

/// Waits until the directory gives these.
async fn found(world: &World, q: &str, expected: &[&str]) {
    let found = async {
        while titles(world, q).await != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, found).await;
    assert!(in_time.is_ok(), "{q}: {:?}", titles(world, q).await);
}

async fn channel(world: &World, title: &str) -> ConversationId {
    let params = Value::object([
        ("title", Value::from(title)),
        ("open", true.into()),
        ("listed", true.into()),
    ]);
    let made = world.call("al", "channels.create", &params.to_json()).await;
    ConversationId::new(text(&made.unwrap(), "conv")).unwrap()
}

#[tokio::test]
async fn public_channels_are_found_by_the_words_of_their_title() {
    let world = World::new().await;
    let news = channel(&world, "Rust News").await;
    channel(&world, "Old rust").await;
    channel(&world, "天气 daily").await;
    world.channel("al", r#","open":true"#).await;
    found(&world, "", &["Old rust", "Rust News", "天气 daily"]).await;
    found(&world, "rust", &["Old rust", "Rust News"]).await;
    found(&world, "RUST n", &["Rust News"]).await;
    found(&world, "气", &["天气 daily"]).await;
    for q in ["ust", "x", "%", "_", "rust%", "' OR 1=1 --"] {
        found(&world, q, &[]).await;
    }
    let all = world
        .call("zo", "channels.find", r#"{"q":"news"}"#)
        .await
        .unwrap();
    let Some(Value::Array(lines)) = all.get("channels") else {
        panic!("{all:?}")
    };
    assert_eq!(
        (int(&lines[0], "members"), text(&lines[0], "join")),
        (1, "open".into())
    );
    world.does_in("zo", "groups.join", &news, "").await;
    let first = world
        .call("zo", "channels.find", r#"{"limit":2}"#)
        .await
        .unwrap();
    assert_eq!(first.get("more"), Some(&Value::Bool(true)));
    let params = Value::object([("after", first.get("next").unwrap().clone())]);
    let second = world
        .call("zo", "channels.find", &params.to_json())
        .await
        .unwrap();
    assert_eq!(each(&second, "channels", "title"), ["天气 daily"]);
    assert_eq!(second.get("more"), Some(&Value::Bool(false)));
}

#[tokio::test]
async fn the_directory_follows_titles_doors_and_ends() {
    let world = World::new().await;
    let one = channel(&world, "One apple").await;
    let two = channel(&world, "Two apples").await;
    found(&world, "apple", &["One apple", "Two apples"]).await;
    world
        .does_in("al", "groups.set", &one, r#","title":"One pear""#)
        .await;
    found(&world, "apple", &["Two apples"]).await;
    found(&world, "pear", &["One pear"]).await;
    let shut = r#","join":"invite""#;
    world
        .fails_in("al", "groups.set", &two, shut, ErrorCode::Conflict)
        .await;
    world
        .does_in(
            "al",
            "groups.set",
            &two,
            r#","listed":false,"join":"invite""#,
        )
        .await;
    found(&world, "", &["One pear"]).await;
    world
        .does_in(
            "al",
            "groups.set",
            &two,
            r#","listed":true,"join":"approval""#,
        )
        .await;
    found(&world, "two", &["Two apples"]).await;
    world.does_in("zo", "groups.ask", &two, "").await;
    world.does_in("al", "groups.disband", &one, "").await;
    found(&world, "", &["Two apples"]).await;
    let refused = world
        .call("al", "channels.create", r#"{"title":"X","listed":true}"#)
        .await;
    assert_eq!(refused, Err(ErrorCode::BadFrame));
    for (q, code) in [
        ("x".repeat(65), ErrorCode::TooLarge),
        ("a\\u202e".into(), ErrorCode::BadFrame),
    ] {
        let params = format!(r#"{{"q":"{q}"}}"#);
        assert_eq!(world.call("zo", "channels.find", &params).await, Err(code));
    }
}

#[tokio::test]
async fn what_a_node_wrote_down_another_puts_into_the_directory() {
    let world = World::with(|settings| settings.due = Duration::from_millis(20)).await;
    let c = channel(&world, "Late").await;
    found(&world, "late", &["Late"]).await;
    // As if the node had died between the channel's commit and the directory's.
    use im_core::model::{FactKey, FactTable, Timestamp};
    use im_core::port::{Commit, Put, Store, Was, Write};
    let put = |key: FactKey, to| {
        Write::Put(Put {
            key,
            to,
            was: Was::Any,
        })
    };
    let due = FactKey::new(FactTable::Listing, c.as_str(), "due");
    let title = FactKey::new(FactTable::Listing, c.as_str(), "title");
    let line = FactKey::new(FactTable::Listed, "words", format!("late\n{}", c.as_str()));
    let lost = Commit {
        conv: line.place().unwrap(),
        expect_version: None,
        actor: None,
        writes: vec![put(line, None)],
    };
    let noted = Commit {
        conv: c,
        expect_version: None,
        actor: None,
        writes: vec![
            put(title, None),
            put(due, Some(("{\"n\":9}".to_owned(), Some(Timestamp(1))))),
        ],
    };
    for done in world.store.commit(&[lost, noted]).await {
        done.unwrap();
    }
    found(&world, "late", &["Late"]).await;
}

#[tokio::test]
async fn subscribers_do_not_see_each_other() {
    let world = World::new().await;
    let c = world.channel("al", r#","open":true"#).await;
    for who in ["bo", "cy", "dy"] {
        world.does_in(who, "groups.join", &c, "").await;
    }
    world
        .does_in("al", "groups.role", &c, r#","user":"cy","role":"admin""#)
        .await;
    world
        .does_in("bo", "groups.nick", &c, r#","nick":"Bobby""#)
        .await;
    let said = world.say("al", &c, "x").await;
    let react = format!(r#"{{"kind":"react","target":{},"emoji":"👍"}}"#, said.0);
    for who in ["bo", "dy"] {
        world.body(who, &c, &react).await.unwrap();
    }
    world
        .does_in("al", "groups.remove", &c, r#","users":["dy"]"#)
        .await;
    // The whole log but who reacted, which is what they did before everybody.
    let reads = async |who: &str| {
        let page = world
            .does_in(who, "conv.entries", &c, r#","after":0"#)
            .await;
        let Some(Value::Array(entries)) = page.get("entries") else {
            panic!("{page:?}")
        };
        let is_react = |entry: &&Value| {
            let kind = entry.get("body").and_then(|body| body.get("kind"));
            kind.and_then(Value::as_text) != Some("react")
        };
        let rest: Vec<_> = entries.iter().filter(is_react).cloned().collect();
        Value::from(rest).to_json()
    };
    let quoted = |name: &str| format!("\"{name}\"");
    let seen = reads("bo").await;
    assert!(
        !seen.contains(&quoted("dy")) && seen.contains(&quoted("cy")),
        "{seen}"
    );
    assert!(seen.contains(&quoted("bo")) && seen.contains("Bobby"));
    world.does_in("ed", "groups.join", &c, "").await;
    let seen = reads("ed").await;
    assert!(
        !seen.contains(&quoted("bo")) && !seen.contains("Bobby"),
        "{seen}"
    );
    let seen = reads("cy").await;
    assert!(seen.contains(&quoted("bo")) && seen.contains(&quoted("dy")));
    let who = async |user: &str| {
        let page = world.does_in(user, "groups.members", &c, "").await;
        each(&page, "members", "user")
    };
    assert_eq!(who("ed").await, ["al", "cy"]);
    assert_eq!(who("cy").await, ["al", "bo", "cy", "ed"]);
    let is = world.does_in("ed", "conv.get", &c, "").await;
    assert_eq!(int(&is, "members"), 4);
}

#[tokio::test]
async fn who_read_and_who_reacted_is_for_those_who_run_it() {
    let world = World::new().await;
    let c = world.channel("al", r#","open":true"#).await;
    for who in ["bo", "cy", "dy", "ed"] {
        world.does_in(who, "groups.join", &c, "").await;
    }
    let role = r#","user":"cy","role":"admin""#;
    world.does_in("al", "groups.role", &c, role).await;
    let said = world.say("al", &c, "x").await;
    let react = format!(r#"{{"kind":"react","target":{},"emoji":"👍"}}"#, said.0);
    for who in ["bo", "dy"] {
        world.body(who, &c, &react).await.unwrap();
    }
    let quoted = |name: &str| format!("\"{name}\"");
    let readers = format!(r#","seq":{}"#, said.0);
    world
        .fails_in("ed", "messages.readers", &c, &readers, ErrorCode::Forbidden)
        .await;
    world.does_in("cy", "messages.readers", &c, &readers).await;
    let states = format!(r#","from":{0},"to":{0}"#, said.0);
    let seen = world
        .does_in("ed", "conv.states", &c, &states)
        .await
        .to_json();
    assert!(
        seen.contains("\"count\":2") && !seen.contains(&quoted("bo")),
        "{seen}"
    );
    let seen = world
        .does_in("bo", "conv.states", &c, &states)
        .await
        .to_json();
    assert!(
        seen.contains(&quoted("bo")) && !seen.contains(&quoted("dy")),
        "{seen}"
    );
}

#[tokio::test]
async fn publishers_come_and_go_and_history_is_there_for_who_comes_late() {
    let world = World::new().await;
    let c = world.channel("al", r#","open":true"#).await;
    for _ in 0..5 {
        world.body("al", &c, TEXT).await.unwrap();
    }
    world.does_in("bo", "groups.join", &c, "").await;
    let page = world
        .does_in("bo", "conv.entries", &c, r#","after":0"#)
        .await;
    assert_eq!(each(&page, "entries", "from").len(), 7);
    assert_eq!(world.body("bo", &c, TEXT).await, Err(ErrorCode::Forbidden));
    world
        .fails_in(
            "bo",
            "announcements.add",
            &c,
            r#","text":"x""#,
            ErrorCode::Forbidden,
        )
        .await;
    world
        .does_in("al", "groups.role", &c, r#","user":"bo","role":"admin""#)
        .await;
    world.body("bo", &c, TEXT).await.unwrap();
    world
        .does_in("bo", "announcements.add", &c, r#","text":"x""#)
        .await;
    world
        .does_in("al", "groups.role", &c, r#","user":"bo","role":"member""#)
        .await;
    assert_eq!(world.body("bo", &c, TEXT).await, Err(ErrorCode::Forbidden));
    world.does_in("bo", "groups.leave", &c, "").await;
    world.does_in("bo", "groups.join", &c, "").await;
}

#[tokio::test]
async fn a_subscriber_says_what_they_want_to_be_told_of() {
    let world = World::new().await;
    let c = world.channel("al", r#","open":true"#).await;
    world.does_in("bo", "groups.join", &c, "").await;
    let topics = r#","topics":["sport","weather"]"#;
    world
        .fails_in("bo", "groups.set", &c, topics, ErrorCode::Forbidden)
        .await;
    world.does_in("al", "groups.set", &c, topics).await;
    let of = |topic: &str| format!(r#","text":"x","topic":"{topic}""#);
    world
        .does_in("al", "announcements.add", &c, &of("sport"))
        .await;
    world
        .fails_in(
            "al",
            "announcements.add",
            &c,
            &of("war"),
            ErrorCode::BadFrame,
        )
        .await;
    let wants = r#","level":"mentions","topics_off":["weather"]"#;
    world.does_in("bo", "notify.set", &c, wants).await;
    let list = world.call("bo", "notify.list", "{}").await.unwrap();
    assert_eq!(each(&list, "notify", "level"), ["mentions"]);
    assert!(list.to_json().contains(r#""topics_off":["weather"]"#));
    let others = world.call("al", "notify.list", "{}").await.unwrap();
    assert_eq!(each(&others, "notify", "conv"), Vec::<String>::new());
    for rest in [
        r#","level":"loud""#,
        r#","topics_off":"x""#,
        r#","topics_off":[1]"#,
    ] {
        world
            .fails_in("bo", "notify.set", &c, rest, ErrorCode::BadFrame)
            .await;
    }
    world
        .fails_in("zo", "notify.set", &c, wants, ErrorCode::NotFound)
        .await;
    world.does_in("bo", "notify.set", &c, "").await;
    let list = world.call("bo", "notify.list", "{}").await.unwrap();
    assert_eq!(each(&list, "notify", "conv"), Vec::<String>::new());
}
