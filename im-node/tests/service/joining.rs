//! Rules of groups, open doors, channels.

use im_core::frame::ErrorCode;
use im_core::model::{ConversationId, Value};

use super::kit::World;

fn of(conv: &ConversationId, rest: &str) -> String {
    format!(r#"{{"conv":"{}"{rest}}}"#, conv.as_str())
}

const TEXT: &str = r#"{"kind":"text","text":"x"}"#;

#[tokio::test]
async fn where_only_admins_speak_members_are_quiet_at_once_and_may_speak_again() {
    let world = World::new().await;
    let g = world.group("al", &["bo", "cy"]).await;
    world
        .gives(
            "al",
            "groups.role",
            &of(&g, r#","user":"cy","role":"admin""#),
            "{}",
        )
        .await;
    world.body("bo", &g, TEXT).await.unwrap();
    let refused = world
        .call("bo", "groups.set", &of(&g, r#","speaks":"admin""#))
        .await;
    assert_eq!(refused, Err(ErrorCode::Forbidden));
    world
        .gives("cy", "groups.set", &of(&g, r#","speaks":"admin""#), "{}")
        .await;
    assert_eq!(world.body("bo", &g, TEXT).await, Err(ErrorCode::Forbidden));
    world.body("cy", &g, TEXT).await.unwrap();
    world
        .gives("cy", "groups.set", &of(&g, r#","speaks":"member""#), "{}")
        .await;
    world.body("bo", &g, TEXT).await.unwrap();
}

#[tokio::test]
async fn a_title_is_set_and_the_rest_stays() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    world
        .gives("al", "groups.set", &of(&g, r#","speaks":"admin""#), "{}")
        .await;
    world
        .gives("al", "groups.set", &of(&g, r#","title":"New""#), "{}")
        .await;
    let is = world.call("bo", "conv.get", &of(&g, "")).await.unwrap();
    assert_eq!(is.get("title").and_then(Value::as_text), Some("New"));
    assert_eq!(world.body("bo", &g, TEXT).await, Err(ErrorCode::Forbidden));
    let head = world.log(&g).await.len();
    world.gives("al", "groups.set", &of(&g, ""), "{}").await;
    assert_eq!(world.log(&g).await.len(), head);
    for (rest, code) in [
        (r#","title":"""#.to_owned(), ErrorCode::BadFrame),
        (
            format!(r#","title":"{}""#, "x".repeat(201)),
            ErrorCode::TooLarge,
        ),
        (r#","title":"a\u202eb""#.to_owned(), ErrorCode::BadFrame),
        (r#","speaks":"king""#.to_owned(), ErrorCode::BadFrame),
        (r#","join":"maybe""#.to_owned(), ErrorCode::BadFrame),
        (r#","hide_history":1"#.to_owned(), ErrorCode::BadFrame),
    ] {
        let refused = world.call("al", "groups.set", &of(&g, &rest)).await;
        assert_eq!(refused, Err(code), "{rest}");
    }
}

#[tokio::test]
async fn anybody_comes_in_by_an_open_door() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    let join = async |who: &str| world.call(who, "groups.join", &of(&g, "")).await.map(drop);
    assert_eq!(join("bo").await, Err(ErrorCode::NotFound));
    world
        .gives("al", "groups.set", &of(&g, r#","join":"open""#), "{}")
        .await;
    for _ in 0..2 {
        assert_eq!(join("bo").await, Ok(()));
    }
    world.body("bo", &g, TEXT).await.unwrap();
    let told = world.log(&g).await;
    let joins = told
        .iter()
        .filter(|entry| entry.body.json().contains("\"join\",\"users\""));
    assert_eq!(joins.count(), 1);
    world.gives("bo", "groups.leave", &of(&g, ""), "{}").await;
    world
        .gives("al", "groups.set", &of(&g, r#","join":"invite""#), "{}")
        .await;
    assert_eq!(join("bo").await, Err(ErrorCode::Forbidden));
    assert_eq!(join("cy").await, Err(ErrorCode::NotFound));
    let direct = im_core::model::direct_id(&super::kit::user("al"), &super::kit::user("al"));
    let refused = world.call("bo", "groups.join", &of(&direct, "")).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
}

#[tokio::test]
async fn in_a_channel_few_write_and_whoever_comes_reads_from_the_beginning() {
    let world = World::new().await;
    let params = r#"{"title":"News","open":true}"#;
    let made = world.call("al", "channels.create", params).await.unwrap();
    let conv = made
        .get("conv")
        .and_then(Value::as_text)
        .unwrap()
        .to_owned();
    let c = ConversationId::new(conv).unwrap();
    let seq = world.body("al", &c, TEXT).await.unwrap();
    world.gives("bo", "groups.join", &of(&c, ""), "{}").await;
    assert_eq!(world.body("bo", &c, TEXT).await, Err(ErrorCode::Forbidden));
    let react = format!(r#"{{"kind":"react","target":{},"emoji":"👍"}}"#, seq.0);
    world.body("bo", &c, &react).await.unwrap();
    let page = world
        .call("bo", "conv.entries", &of(&c, r#","after":0"#))
        .await
        .unwrap();
    let Some(Value::Array(entries)) = page.get("entries") else {
        panic!("{page:?}");
    };
    assert_eq!(entries.len(), 4);
    world
        .gives(
            "al",
            "groups.role",
            &of(&c, r#","user":"bo","role":"admin""#),
            "{}",
        )
        .await;
    world.body("bo", &c, TEXT).await.unwrap();
    world.gives("bo", "groups.leave", &of(&c, ""), "{}").await;
    let closed = world
        .call("al", "channels.create", r#"{"title":"Inner"}"#)
        .await
        .unwrap();
    let refused = world.call("bo", "groups.join", &closed.to_json()).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
}
