//! Packs that the staff keeps, what users have of them, and stickers that are sent.

use im_core::frame::ErrorCode;
use im_core::model::Value;

use super::kit::{World, items, text};

const CATS: &str = r#"{"pack":"cats","title":"Cats","stickers":[
    {"id":"1","blob":"b1","emoji":"😺","code":"cat_hi"},{"id":"2","blob":"b2","code":"cat_no"}]}"#;

async fn world() -> World {
    let world = World::new().await;
    world.does("adm", "admin.packs.set", CATS).await;
    world
}

async fn codes(world: &World, prefix: &str) -> Vec<String> {
    let params = format!(r#"{{"prefix":"{prefix}"}}"#);
    let found = world.does("al", "emoji.find", &params).await;
    let found = items(&found, "emoji");
    found.iter().map(|one| text(one, "code")).collect()
}

#[tokio::test]
async fn packs_are_kept_by_admins_and_seen_by_all() {
    let world = world().await;
    for who in ["al", "mod", "aud"] {
        let refused = world.call(who, "admin.packs.set", CATS).await;
        assert_eq!(refused, Err(ErrorCode::Forbidden), "{who}");
        let params = r#"{"pack":"cats","why":"x"}"#;
        let refused = world.call(who, "admin.packs.remove", params).await;
        assert_eq!(refused, Err(ErrorCode::Forbidden), "{who}");
    }
    let list = r#"{"packs":[{"pack":"cats","title":"Cats","stickers":2}],"more":false}"#;
    world.gives("al", "packs.list", "{}", list).await;
    let pack = world.does("al", "packs.get", r#"{"pack":"cats"}"#).await;
    assert_eq!(items(&pack, "stickers").len(), 2);
    let unsaid = world
        .call("adm", "admin.packs.remove", r#"{"pack":"cats"}"#)
        .await;
    assert_eq!(unsaid, Err(ErrorCode::BadFrame), "why is missing");
    let params = r#"{"pack":"cats","why":"old"}"#;
    world.does("adm", "admin.packs.remove", params).await;
    let gone = world.call("al", "packs.get", r#"{"pack":"cats"}"#).await;
    assert_eq!(gone, Err(ErrorCode::NotFound));
    assert!(codes(&world, "cat").await.is_empty());
    let audit = world.does("aud", "audit.list", "{}").await;
    assert!(audit.to_json().contains("packs.remove"), "{audit:?}");
}

#[tokio::test]
async fn a_code_is_one_packs_and_goes_with_its_sticker() {
    let world = world().await;
    assert_eq!(codes(&world, "cat").await, ["cat_hi", "cat_no"]);
    assert_eq!(codes(&world, "CAT_N").await, ["cat_no"]);
    assert!(codes(&world, "cau").await.is_empty());
    assert!(codes(&world, "ca_").await.is_empty());
    let dogs =
        r#"{"pack":"dogs","title":"Dogs","stickers":[{"id":"1","blob":"b","code":"cat_hi"}]}"#;
    let refused = world.call("adm", "admin.packs.set", dogs).await;
    assert_eq!(refused, Err(ErrorCode::Conflict));
    let fewer =
        r#"{"pack":"cats","title":"Cats","stickers":[{"id":"2","blob":"b2","code":"cat_no"}]}"#;
    world.does("adm", "admin.packs.set", fewer).await;
    assert_eq!(codes(&world, "cat").await, ["cat_no"]);
    world.does("adm", "admin.packs.set", dogs).await;
    assert_eq!(codes(&world, "cat").await, ["cat_hi", "cat_no"]);
}

#[tokio::test]
async fn what_users_have_of_packs_is_their_own() {
    let world = world().await;
    world
        .does("al", "packs.collect", r#"{"pack":"cats"}"#)
        .await;
    let none = world
        .call("al", "packs.collect", r#"{"pack":"rats"}"#)
        .await;
    assert_eq!(none, Err(ErrorCode::NotFound));
    let mine = r#"{"packs":["cats"],"more":false}"#;
    world.gives("al", "packs.collected", "{}", mine).await;
    let none = r#"{"packs":[],"more":false}"#;
    world.gives("bo", "packs.collected", "{}", none).await;
    let one = r#"{"pack":"cats","sticker":"2"}"#;
    world.does("al", "stickers.keep", one).await;
    let kept = format!(r#"{{"stickers":[{one}],"more":false}}"#);
    world.gives("al", "stickers.kept", "{}", &kept).await;
    let odd = r#"{"pack":"cats","sticker":"9"}"#;
    let refused = world.call("al", "stickers.keep", odd).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
    // What is no longer there can still be let go.
    let params = r#"{"pack":"cats","why":"old"}"#;
    world.does("adm", "admin.packs.remove", params).await;
    world
        .does("al", "packs.collect", r#"{"pack":"cats","on":false}"#)
        .await;
    world
        .does(
            "al",
            "stickers.keep",
            r#"{"pack":"cats","sticker":"2","on":false}"#,
        )
        .await;
    world.gives("al", "packs.collected", "{}", none).await;
    world
        .gives(
            "al",
            "stickers.kept",
            "{}",
            r#"{"stickers":[],"more":false}"#,
        )
        .await;
}

#[tokio::test]
async fn a_sticker_of_a_pack_is_one_that_it_has() {
    let world = world().await;
    let g = world.group("al", &[]).await;
    for (body, sent) in [
        (r#"{"kind":"sticker","pack":"cats","sticker":"1"}"#, Ok(())),
        (r#"{"kind":"sticker","sticker":"of the embedder"}"#, Ok(())),
        (
            r#"{"kind":"sticker","pack":"cats","sticker":"9"}"#,
            Err(ErrorCode::NotFound),
        ),
        (
            r#"{"kind":"sticker","pack":"rats","sticker":"1"}"#,
            Err(ErrorCode::NotFound),
        ),
    ] {
        assert_eq!(world.body("al", &g, body).await.map(drop), sent, "{body}");
    }
}

#[tokio::test]
async fn a_pack_that_is_misshapen_is_refused_and_says_where() {
    let world = world().await;
    let many: Vec<Value> = (0..121)
        .map(|n| {
            let id = Value::from(n.to_string());
            Value::object([("id", id), ("blob", Value::from("b"))])
        })
        .collect();
    let many = Value::from(many).to_json();
    let long = format!(r#"[{{"id":"{}","blob":"b"}}]"#, "x".repeat(65));
    for (stickers, code) in [
        ("7", ErrorCode::BadFrame),
        ("[7]", ErrorCode::BadFrame),
        (r#"[{"id":"1"}]"#, ErrorCode::BadFrame),
        (r#"[{"blob":"b"}]"#, ErrorCode::BadFrame),
        (r#"[{"id":"1\u202e","blob":"b"}]"#, ErrorCode::BadFrame),
        (r#"[{"id":"1\n2","blob":"b"}]"#, ErrorCode::BadFrame),
        (
            r#"[{"id":"1","blob":"b","code":"Big"}]"#,
            ErrorCode::BadFrame,
        ),
        (
            r#"[{"id":"1","blob":"b","code":"a b"}]"#,
            ErrorCode::BadFrame,
        ),
        (
            r#"[{"id":"1","blob":"b"},{"id":"1","blob":"c"}]"#,
            ErrorCode::BadFrame,
        ),
        (long.as_str(), ErrorCode::BadFrame),
        (many.as_str(), ErrorCode::TooLarge),
    ] {
        let params = format!(r#"{{"pack":"odd","title":"t","stickers":{stickers}}}"#);
        let refused = world.call("adm", "admin.packs.set", &params).await;
        assert_eq!(refused, Err(code), "{stickers}");
    }
}
