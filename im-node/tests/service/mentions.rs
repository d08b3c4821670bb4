//! Who is mentioned, who may mention everybody, and what is counted of it.

use im_core::frame::ErrorCode;
use im_core::model::{ConversationId, Mentions, Target, Value};

use super::kit::{World, int, user};

const TEXT: &str = r#"{"kind":"text","text":"x"}"#;

async fn mention(
    world: &World,
    who: &str,
    g: &ConversationId,
    mentions: Mentions,
) -> Result<im_core::model::Seq, ErrorCode> {
    let mut draft = world.draft(Target::Conversation(g.clone()), TEXT);
    draft.mentions = mentions;
    world.send(who, &draft).await
}

fn names(ids: &[&str]) -> Mentions {
    Mentions::Users(ids.iter().map(|id| user(id)).collect())
}

/// `unread` and `mentions` of the one conversation in a user's list.
async fn counts(world: &World, who: &str) -> (i64, i64) {
    let list = world.call(who, "conv.list", "{}").await.unwrap();
    let Some(Value::Array(lines)) = list.get("convs") else {
        panic!("{list:?}")
    };
    let mentions = lines[0].get("mentions").and_then(Value::as_int);
    (int(&lines[0], "unread"), mentions.unwrap_or(0))
}

#[tokio::test]
async fn mentions_are_counted_until_they_are_read_or_taken_back() {
    let world = World::new().await;
    let g = world.group("al", &["bo", "cy"]).await;
    world.say("al", &g, "x").await;
    let seq = mention(&world, "al", &g, names(&["bo"])).await.unwrap();
    mention(&world, "al", &g, Mentions::All).await.unwrap();
    mention(&world, "cy", &g, names(&["al", "bo"]))
        .await
        .unwrap();
    assert_eq!(counts(&world, "bo").await, (4, 3));
    assert_eq!(counts(&world, "cy").await, (3, 1));
    assert_eq!(counts(&world, "al").await, (1, 1));
    let recall = format!(r#"{{"kind":"recall","target":{}}}"#, seq.0);
    world.body("al", &g, &recall).await.unwrap();
    assert_eq!(counts(&world, "bo").await, (3, 2));
}

#[tokio::test]
async fn everybody_is_mentioned_by_those_who_may() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let all = async |who: &str| mention(&world, who, &g, Mentions::All).await.map(drop);
    assert_eq!(all("bo").await, Err(ErrorCode::Forbidden));
    assert_eq!(all("al").await, Ok(()));
    assert_eq!(all("zo").await, Err(ErrorCode::NotFound));
    let wide = r#","rights":{"mention_all":"member"}"#;
    world.does_in("al", "groups.set", &g, wide).await;
    assert_eq!(all("bo").await, Ok(()));
    // With another one alone there is no everybody to spare.
    let mut draft = world.draft(Target::User(user("al")), TEXT);
    draft.mentions = Mentions::All;
    for _ in 0..2 {
        world.send("bo", &draft).await.unwrap();
    }
}

#[tokio::test]
async fn ten_thousand_mentions_are_refused() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    for (count, expected) in [
        (100, Ok(())),
        (101, Err(ErrorCode::BadFrame)),
        (10_000, Err(ErrorCode::BadFrame)),
    ] {
        let users: Vec<Value> = (0..count).map(|n| format!("u{n}").into()).collect();
        let params = Value::object([
            ("cm_id", Value::from(format!("c{count}"))),
            ("to", Value::object([("conv", Value::from(g.as_str()))])),
            ("body", Value::from_json(TEXT).unwrap()),
            ("mentions", users.into()),
        ]);
        let sent = world.call("al", "messages.send", &params.to_json()).await;
        assert_eq!(sent.map(drop), expected, "{count}");
    }
    assert_eq!(world.log(&g).await.len(), 2);
}
