//! What is a user's alone.

use im_core::frame::ErrorCode;

use super::kit::World;

#[tokio::test]
async fn a_draft_is_there_until_it_is_empty() {
    let world = World::new().await;
    world
        .gives("al", "drafts.list", "{}", r#"{"drafts":[],"more":false}"#)
        .await;
    for (conv, draft) in [
        ("g", r#"{"text":"hal"}"#),
        ("d", "1"),
        ("g", r#"{"text":"hallo"}"#),
    ] {
        let params = format!(r#"{{"conv":"{conv}","draft":{draft}}}"#);
        world.gives("al", "drafts.set", &params, "{}").await;
    }
    let all =
        r#"{"drafts":[{"conv":"d","draft":1},{"conv":"g","draft":{"text":"hallo"}}],"more":false}"#;
    world.gives("al", "drafts.list", "{}", all).await;
    world
        .gives("bo", "drafts.list", "{}", r#"{"drafts":[],"more":false}"#)
        .await;
    world
        .gives("al", "drafts.set", r#"{"conv":"g"}"#, "{}")
        .await;
    let rest = r#"{"drafts":[{"conv":"d","draft":1}],"more":false}"#;
    world.gives("al", "drafts.list", "{}", rest).await;
}

#[tokio::test]
async fn drafts_are_bounded() {
    let world = World::new().await;
    let long = "x".repeat(9_000);
    let params = format!(r#"{{"conv":"g","draft":"{long}"}}"#);
    let refused = world.call("al", "drafts.set", &params).await;
    assert_eq!(refused, Err(ErrorCode::TooLarge));
    for n in 0..200 {
        let params = format!(r#"{{"conv":"g{n}","draft":1}}"#);
        world.gives("al", "drafts.set", &params, "{}").await;
    }
    let more = world
        .call("al", "drafts.set", r#"{"conv":"h","draft":1}"#)
        .await;
    assert_eq!(more, Err(ErrorCode::Conflict));
    world
        .gives("al", "drafts.set", r#"{"conv":"g7","draft":2}"#, "{}")
        .await;
    world
        .gives("bo", "drafts.set", r#"{"conv":"h","draft":1}"#, "{}")
        .await;
}

#[tokio::test]
async fn what_is_hidden_is_hidden_for_one_alone() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    for n in 0..5 {
        world.say("al", &g, &n.to_string()).await;
    }
    let params = |rest: &str| format!(r#"{{"conv":"{}"{rest}}}"#, g.as_str());
    world
        .gives("bo", "messages.hide", &params(r#","seqs":[4,2,4]"#), "{}")
        .await;
    let hidden = r#"{"seqs":[2,4],"more":false}"#;
    world
        .gives("bo", "messages.hidden", &params(""), hidden)
        .await;
    let above = r#"{"seqs":[4],"more":false}"#;
    world
        .gives("bo", "messages.hidden", &params(r#","after":2"#), above)
        .await;
    let none = r#"{"seqs":[],"more":false}"#;
    world
        .gives("al", "messages.hidden", &params(""), none)
        .await;
    let back = params(r#","seqs":[4],"on":false"#);
    world.gives("bo", "messages.hide", &back, "{}").await;
    let rest = r#"{"seqs":[2],"more":false}"#;
    world
        .gives("bo", "messages.hidden", &params(""), rest)
        .await;
    for (who, rest, code) in [
        ("bo", r#","seqs":[99]"#, ErrorCode::NotFound),
        ("cy", r#","seqs":[1]"#, ErrorCode::NotFound),
        ("bo", r#","seqs":[0]"#, ErrorCode::BadFrame),
        ("bo", r#","seqs":[]"#, ErrorCode::BadFrame),
        ("bo", "", ErrorCode::BadFrame),
    ] {
        let refused = world.call(who, "messages.hide", &params(rest)).await;
        assert_eq!(refused, Err(code), "{who} {rest}");
    }
}
