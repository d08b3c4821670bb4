//! Friends, and who may write to whom.

use im_core::frame::ErrorCode;
use im_core::model::{Target, Value};
use im_node::WriteTo;

use super::kit::{World, user};

async fn list(world: &World, who: &str, method: &str, field: &str) -> Vec<String> {
    let value = world.call(who, method, "{}").await.unwrap();
    let Some(Value::Array(lines)) = value.get(field) else {
        panic!("{value:?}");
    };
    let user = |line: &Value| line.get("user").and_then(Value::as_text).map(str::to_owned);
    lines.iter().filter_map(user).collect()
}

async fn lists(world: &World, who: &str) -> [Vec<String>; 3] {
    [
        list(world, who, "friends.list", "friends").await,
        list(world, who, "friends.requests", "requests").await,
        list(world, who, "friends.asked", "asked").await,
    ]
}

fn about(other: &str) -> String {
    format!(r#"{{"user":"{other}"}}"#)
}

const NOBODY: [&str; 0] = [];
const ASKED: &str = r#"{"state":"asked"}"#;
const FRIENDS: &str = r#"{"state":"friends"}"#;

#[tokio::test]
async fn who_is_asked_and_accepts_is_a_friend_on_both_sides() {
    let world = World::new().await;
    let ask = r#"{"user":"bo","note":"hi, it's al"}"#;
    for _ in 0..2 {
        world.gives("al", "friends.ask", ask, ASKED).await;
        assert_eq!(
            lists(&world, "al").await,
            [vec![], vec![], vec!["bo".to_owned()]]
        );
        assert_eq!(
            lists(&world, "bo").await,
            [vec![], vec!["al".to_owned()], vec![]]
        );
    }
    let asked = world.call("bo", "friends.requests", "{}").await.unwrap();
    assert!(
        asked.to_json().contains(r#""note":"hi, it's al""#),
        "{asked:?}"
    );
    for _ in 0..2 {
        world
            .gives("bo", "friends.accept", &about("al"), FRIENDS)
            .await;
        assert_eq!(
            lists(&world, "al").await,
            [vec!["bo".to_owned()], vec![], vec![]]
        );
        assert_eq!(
            lists(&world, "bo").await,
            [vec!["al".to_owned()], vec![], vec![]]
        );
    }
    world.gives("al", "friends.ask", ask, FRIENDS).await;
    world
        .gives("bo", "friends.remove", &about("al"), "{}")
        .await;
    for who in ["al", "bo"] {
        assert_eq!(lists(&world, who).await, [NOBODY; 3]);
    }
    let refused = world.call("bo", "friends.accept", &about("al")).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
}

#[tokio::test]
async fn two_who_ask_each_other_are_friends() {
    let world = World::new().await;
    world.gives("al", "friends.ask", &about("bo"), ASKED).await;
    world
        .gives("bo", "friends.ask", &about("al"), FRIENDS)
        .await;
    assert_eq!(
        lists(&world, "al").await,
        [vec!["bo".to_owned()], vec![], vec![]]
    );
    assert_eq!(
        lists(&world, "bo").await,
        [vec!["al".to_owned()], vec![], vec![]]
    );
    // At the same moment, too.
    for round in 0..20 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let (of_a, of_b) = (about(&b), about(&a));
        let (one, other) = tokio::join!(
            world.call(&a, "friends.ask", &of_a),
            world.call(&b, "friends.ask", &of_b)
        );
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
        assert_eq!(lists(&world, &a).await, [vec![b.clone()], vec![], vec![]]);
        assert_eq!(lists(&world, &b).await, [vec![a], vec![], vec![]]);
    }
}

#[tokio::test]
async fn a_request_is_refused_or_ends_by_itself() {
    let short = std::time::Duration::from_millis(50);
    let world = World::with(|settings| settings.friend_request = short).await;
    world.gives("al", "friends.ask", &about("bo"), ASKED).await;
    tokio::time::sleep(short).await;
    for who in ["al", "bo"] {
        assert_eq!(lists(&world, who).await, [NOBODY; 3]);
    }
    let late = world.call("bo", "friends.accept", &about("al")).await;
    assert_eq!(late, Err(ErrorCode::NotFound));
    // One that is over stands in nobody's way, from either side.
    world.gives("bo", "friends.ask", &about("al"), ASKED).await;
    world
        .gives("al", "friends.ask", &about("bo"), FRIENDS)
        .await;
    let world = World::new().await;
    world.gives("al", "friends.ask", &about("bo"), ASKED).await;
    world
        .gives("bo", "friends.refuse", &about("al"), "{}")
        .await;
    for who in ["al", "bo"] {
        assert_eq!(lists(&world, who).await, [NOBODY; 3]);
    }
}

#[tokio::test]
async fn a_friend_has_a_name_of_ones_own_and_a_place_in_a_list() {
    let world = World::new().await;
    let named = r#"{"user":"bo","remark":"Bo 🐟","list":"work"}"#;
    let refused = world.call("al", "friends.set", named).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
    world.gives("al", "friends.ask", &about("bo"), ASKED).await;
    world
        .gives("bo", "friends.accept", &about("al"), FRIENDS)
        .await;
    world.gives("al", "friends.set", named, FRIENDS).await;
    let mine = world
        .call("al", "friends.list", "{}")
        .await
        .unwrap()
        .to_json();
    assert!(
        mine.contains(r#""list":"work""#) && mine.contains("Bo 🐟"),
        "{mine}"
    );
    let theirs = world
        .call("bo", "friends.list", "{}")
        .await
        .unwrap()
        .to_json();
    assert!(!theirs.contains("remark"), "{theirs}");
    for (field, code) in [
        (
            format!(r#""remark":"{}""#, "x".repeat(65)),
            ErrorCode::TooLarge,
        ),
        (r#""remark":"a\u202eb""#.to_owned(), ErrorCode::BadFrame),
        (r#""remark":"a\u0007b""#.to_owned(), ErrorCode::BadFrame),
        (r#""list":7"#.to_owned(), ErrorCode::BadFrame),
    ] {
        let params = format!(r#"{{"user":"bo",{field}}}"#);
        let refused = world.call("al", "friends.set", &params).await;
        assert_eq!(refused, Err(code), "{field}");
    }
}

#[tokio::test]
async fn nobody_asks_themselves_or_past_a_block() {
    let world = World::new().await;
    let alone = world.call("al", "friends.ask", &about("al")).await;
    assert_eq!(alone, Err(ErrorCode::Conflict));
    world.gives("bo", "blocks.add", &about("al"), "{}").await;
    for (who, other) in [("al", "bo"), ("bo", "al")] {
        let refused = world.call(who, "friends.ask", &about(other)).await;
        assert_eq!(refused, Err(ErrorCode::Blocked));
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new().await;
    for n in 0..7 {
        let other = format!("u{n}");
        world
            .gives("al", "friends.ask", &about(&other), ASKED)
            .await;
        world
            .gives(&other, "friends.accept", &about("al"), FRIENDS)
            .await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let params = format!(r#"{{"limit":3{after}}}"#);
        let page = world.call("al", "friends.list", &params).await.unwrap();
        let Some(Value::Array(friends)) = page.get("friends") else {
            panic!("{page:?}");
        };
        seen.extend(
            friends
                .iter()
                .filter_map(|it| it.get("user")?.as_text().map(str::to_owned)),
        );
        match page.get("next").and_then(Value::as_text) {
            Some(next) => after = format!(r#","after":"{next}""#),
            None => break,
        }
    }
    assert_eq!(seen, ["u0", "u1", "u2", "u3", "u4", "u5", "u6"]);
}

/// Where only friends write to each other, a stranger's message is refused until they are, and
/// again when they are no more; groups and oneself are free.
#[tokio::test]
async fn strangers_do_not_write_where_only_friends_do() {
    let world = World::with(|settings| settings.write_to = WriteTo::Friends).await;
    let write = async |from: &str, to: &str| {
        let draft = world.draft(Target::User(user(to)), r#"{"kind":"text","text":"x"}"#);
        world.send(from, &draft).await.map(drop)
    };
    assert_eq!(write("al", "bo").await, Err(ErrorCode::Forbidden));
    assert_eq!(write("al", "al").await, Ok(()));
    world.gives("al", "friends.ask", &about("bo"), ASKED).await;
    assert_eq!(write("al", "bo").await, Err(ErrorCode::Forbidden));
    world
        .gives("bo", "friends.accept", &about("al"), FRIENDS)
        .await;
    for (from, to) in [("al", "bo"), ("bo", "al")] {
        assert_eq!(write(from, to).await, Ok(()));
    }
    world
        .gives("al", "friends.remove", &about("bo"), "{}")
        .await;
    for (from, to) in [("al", "bo"), ("bo", "al")] {
        assert_eq!(write(from, to).await, Err(ErrorCode::Forbidden));
    }
    let g = world.group("al", &["bo"]).await;
    world.say("bo", &g, "free").await;
}

#[tokio::test]
async fn a_profile_is_what_it_was_set_to_last() {
    let world = World::new().await;
    let none = r#"{"profiles":[]}"#;
    world
        .gives("bo", "profile.get", r#"{"users":["al"]}"#, none)
        .await;
    for bio in ["one", "two"] {
        let params = format!(r#"{{"name":"Al","bio":"{bio}","custom":{{"k":[1]}}}}"#);
        world.gives("al", "profile.set", &params, "{}").await;
    }
    let is = r#"{"profiles":[{"user":"al","name":"Al","bio":"two","custom":{"k":[1]}}]}"#;
    world
        .gives("bo", "profile.get", r#"{"users":["al","zoe"]}"#, is)
        .await;
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(65));
    let refused = world.call("al", "profile.set", &long).await;
    assert_eq!(refused, Err(ErrorCode::TooLarge));
}
