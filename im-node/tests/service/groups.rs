//! Who runs a group, what it sets, what its members are called, and its end.

use im_core::frame::ErrorCode;
use im_core::model::{Kind, Mentions, Target, Value};

use super::kit::{World, each, int, text};

const TEXT: &str = r#"{"kind":"text","text":"x"}"#;

/// The `op`s of the server's entries of a log.
async fn ops(world: &World, g: &im_core::model::ConversationId) -> Vec<String> {
    let log = world.log(g).await;
    let op = |entry: &im_core::model::Entry| {
        let body = entry.body.value();
        body.get("op").and_then(Value::as_text).map(str::to_owned)
    };
    log.iter().filter_map(op).collect()
}

#[tokio::test]
async fn what_a_group_is_is_set_seen_and_taken_away() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let is = world.does_in("bo", "conv.get", &g, "").await;
    assert_eq!(text(&is, "join"), "invite");
    assert_eq!(text(is.get("rights").unwrap(), "pin"), "admin");
    assert_eq!(is.get("about"), None);
    let all = r#","about":"One\nTwo <b>x</b>","picture":"blob-1","members_max":3,
        "rights":{"pin":"member","add":"owner"}"#;
    world.does_in("al", "groups.set", &g, all).await;
    let is = world.does_in("bo", "conv.get", &g, "").await;
    assert_eq!(text(&is, "about"), "One\nTwo <b>x</b>");
    assert_eq!(text(&is, "picture"), "blob-1");
    assert_eq!(int(&is, "members_max"), 3);
    let rights = is.get("rights").unwrap();
    assert_eq!(
        (text(rights, "pin"), text(rights, "add")),
        ("member".into(), "owner".into())
    );
    assert_eq!(text(rights, "info"), "admin");
    assert_eq!(is.get("staff"), None);
    let gone = r#","about":"","picture":"","members_max":0"#;
    world.does_in("al", "groups.set", &g, gone).await;
    let is = world.does_in("bo", "conv.get", &g, "").await;
    for field in ["about", "picture", "members_max"] {
        assert_eq!(is.get(field), None, "{field}");
    }
    let log = world.log(&g).await;
    let last = log.last().unwrap().body.value();
    assert_eq!(last.get("about"), Some(&Value::Null));
    assert_eq!(ops(&world, &g).await, ["create", "set", "set"]);
}

#[tokio::test]
async fn what_is_no_setting_is_refused_and_named() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let long = |field: &str, chars: usize| format!(r#","{field}":"{}""#, "x".repeat(chars));
    use ErrorCode::{BadFrame, Conflict, TooLarge};
    for (rest, code) in [
        (long("about", 1_001), TooLarge),
        (r#","about":"a\u202eb""#.into(), BadFrame),
        (r#","about":"a\u0007b""#.into(), BadFrame),
        (r#","about":7"#.into(), BadFrame),
        (r#","picture":"javascript:x""#.into(), BadFrame),
        (r#","picture":"data:text/html,x""#.into(), BadFrame),
        (long("picture", 2_049), TooLarge),
        (r#","members_max":1"#.into(), BadFrame),
        (r#","members_max":100001"#.into(), BadFrame),
        (r#","members_max":-1"#.into(), BadFrame),
        (r#","speaks":"nobody""#.into(), BadFrame),
        (r#","rights":{"fly":"admin"}"#.into(), BadFrame),
        (r#","rights":{"pin":"nobody"}"#.into(), BadFrame),
        (r#","rights":{"pin":1}"#.into(), BadFrame),
        (r#","rights":[]"#.into(), BadFrame),
        (r#","join":"all""#.into(), BadFrame),
        (r#","topics":["a\u200fb"]"#.into(), BadFrame),
        (r#","topics":"a""#.into(), BadFrame),
        (r#","listed":true"#.into(), Conflict),
    ] {
        world.fails_in("al", "groups.set", &g, &rest, code).await;
    }
    let topics: Vec<_> = (0..33).map(|n| format!("\"t{n}\"")).collect();
    let rest = format!(r#","topics":[{}]"#, topics.join(","));
    world
        .fails_in("al", "groups.set", &g, &rest, TooLarge)
        .await;
    for edge in [long("about", 1_000), long("picture", 2_048)] {
        world.does_in("al", "groups.set", &g, &edge).await;
    }
    assert_eq!(world.log(&g).await.len(), 3);
}

#[tokio::test]
async fn rights_are_given_by_role_and_taken_back() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let said = world.say("al", &g, "x").await;
    let pin = format!(r#"{{"kind":"pin","target":{}}}"#, said.0);
    let all = async || {
        let mut draft = world.draft(Target::Conversation(g.clone()), TEXT);
        draft.mentions = Mentions::All;
        world.send("bo", &draft).await.map(drop)
    };
    let tries = async || {
        let set = world.call_in("bo", "groups.set", &g, r#","title":"T""#);
        let add = world.call_in("bo", "groups.add", &g, r#","users":["cy"]"#);
        let link = world.call_in("bo", "invites.create", &g, "");
        [
            set.await.map(drop),
            add.await.map(drop),
            link.await.map(drop),
            world.body("bo", &g, &pin).await.map(drop),
            all().await,
        ]
    };
    assert_eq!(tries().await, [Err(ErrorCode::Forbidden); 5]);
    let wide = r#","rights":{"add":"member","info":"member","pin":"member",
        "mention_all":"member"}"#;
    world.does_in("al", "groups.set", &g, wide).await;
    assert_eq!(tries().await, [Ok(()); 5]);
    // The rules themselves are not theirs to set.
    world
        .fails_in(
            "bo",
            "groups.set",
            &g,
            r#","speaks":"admin""#,
            ErrorCode::Forbidden,
        )
        .await;
    let narrow = r#","rights":{"add":"owner","info":"owner","pin":"owner",
        "mention_all":"owner"}"#;
    world.does_in("al", "groups.set", &g, narrow).await;
    let role = r#","user":"bo","role":"admin""#;
    world.does_in("al", "groups.role", &g, role).await;
    assert_eq!(tries().await, [Err(ErrorCode::Forbidden); 5]);
}

#[tokio::test]
async fn a_group_has_one_owner_and_so_many_admins() {
    let world = World::new().await;
    let names: Vec<String> = (0..60).map(|n| format!("u{n}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let g = world.group("al", &ids).await;
    let role = |user: &str, role: &str| format!(r#","user":"{user}","role":"{role}""#);
    for user in &ids[..49] {
        world
            .does_in("al", "groups.role", &g, &role(user, "admin"))
            .await;
    }
    let one_more = role("u49", "admin");
    world
        .fails_in("al", "groups.role", &g, &one_more, ErrorCode::Conflict)
        .await;
    world
        .does_in("al", "groups.role", &g, &role("u0", "member"))
        .await;
    world.does_in("al", "groups.role", &g, &one_more).await;
    // Who is removed, or goes, makes room too.
    world
        .does_in("al", "groups.remove", &g, r#","users":["u1"]"#)
        .await;
    world.does_in("u2", "groups.leave", &g, "").await;
    for user in ["u50", "u51"] {
        world
            .does_in("al", "groups.role", &g, &role(user, "admin"))
            .await;
    }
    let one_more = role("u52", "admin");
    world
        .fails_in("al", "groups.role", &g, &one_more, ErrorCode::Conflict)
        .await;
    // Giving it away makes nobody more.
    world
        .does_in("al", "groups.role", &g, &role("u50", "owner"))
        .await;
    world
        .fails_in("al", "groups.role", &g, &one_more, ErrorCode::Forbidden)
        .await;
    let is = world.does_in("al", "conv.get", &g, "").await;
    assert_eq!(text(is.get("me").unwrap(), "role"), "admin");
    world
        .fails_in(
            "u50",
            "groups.role",
            &g,
            r#","user":"u3","role":"nobody""#,
            ErrorCode::BadFrame,
        )
        .await;
    world
        .fails_in("u50", "groups.leave", &g, "", ErrorCode::Conflict)
        .await;
}

#[tokio::test]
async fn a_member_has_a_name_here_while_they_are_in() {
    let world = World::new().await;
    let g = world.group("al", &["bo", "cy"]).await;
    let nicks = async || {
        let page = world.does_in("al", "groups.members", &g, "").await;
        let Some(Value::Array(members)) = page.get("members") else {
            panic!("{page:?}")
        };
        let nick = |it: &Value| it.get("nick").and_then(Value::as_text).map(str::to_owned);
        members.iter().map(nick).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        world
            .does_in("bo", "groups.nick", &g, r#","nick":"Bobby""#)
            .await;
    }
    world
        .does_in("al", "groups.nick", &g, r#","user":"cy","nick":"Cyd""#)
        .await;
    assert_eq!(
        nicks().await,
        [None, Some("Bobby".into()), Some("Cyd".into())]
    );
    let page = world
        .does_in("al", "groups.members", &g, r#","after":"al","limit":1"#)
        .await;
    assert_eq!(each(&page, "members", "nick"), ["Bobby"]);
    let me = world.does_in("bo", "conv.get", &g, "").await;
    assert_eq!(text(me.get("me").unwrap(), "nick"), "Bobby");
    world
        .fails_in(
            "bo",
            "groups.nick",
            &g,
            r#","user":"cy","nick":"X""#,
            ErrorCode::Forbidden,
        )
        .await;
    world
        .fails_in(
            "bo",
            "groups.nick",
            &g,
            r#","user":"zo","nick":"X""#,
            ErrorCode::NotFound,
        )
        .await;
    world
        .fails_in(
            "zo",
            "groups.nick",
            &g,
            r#","nick":"X""#,
            ErrorCode::NotFound,
        )
        .await;
    world.does_in("bo", "groups.leave", &g, "").await;
    world.does_in("cy", "groups.nick", &g, "").await;
    world
        .does_in("al", "groups.add", &g, r#","users":["bo"]"#)
        .await;
    assert_eq!(nicks().await, [None, None, None]);
    let told = ops(&world, &g).await;
    assert_eq!(told, ["create", "nick", "nick", "leave", "nick", "add"]);
}

#[tokio::test]
async fn a_name_here_is_short_and_hides_nothing() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    for (nick, code) in [
        ("x".repeat(65), ErrorCode::TooLarge),
        ("a\\u202eb".to_owned(), ErrorCode::BadFrame),
        ("a\\nb".to_owned(), ErrorCode::BadFrame),
        (String::new(), ErrorCode::BadFrame),
    ] {
        let rest = format!(r#","nick":"{nick}""#);
        world.fails_in("bo", "groups.nick", &g, &rest, code).await;
    }
    assert_eq!(ops(&world, &g).await, ["create"]);
}

#[tokio::test]
async fn a_group_is_no_larger_than_it_may_be() {
    let world = World::with(|settings| settings.group_members_max = 4).await;
    let refused = world
        .call(
            "al",
            "groups.create",
            r#"{"title":"G","members":["a","b","c","d"]}"#,
        )
        .await;
    assert_eq!(refused, Err(ErrorCode::Conflict));
    let g = world.group("al", &["bo"]).await;
    let add = |users: &str| format!(r#","users":[{users}]"#);
    let many = add(r#""c","d","e""#);
    world
        .fails_in("al", "groups.add", &g, &many, ErrorCode::Conflict)
        .await;
    world
        .does_in("al", "groups.set", &g, r#","members_max":3,"join":"open""#)
        .await;
    world
        .does_in("al", "groups.add", &g, &add(r#""bo","c""#))
        .await;
    world
        .fails_in("al", "groups.add", &g, &add(r#""d""#), ErrorCode::Conflict)
        .await;
    world
        .fails_in("d", "groups.join", &g, "", ErrorCode::Conflict)
        .await;
    // Who is in is not kept from what they are.
    world.does_in("c", "groups.join", &g, "").await;
    world.does_in("c", "groups.leave", &g, "").await;
    world.does_in("d", "groups.join", &g, "").await;
    world
        .fails_in(
            "al",
            "groups.set",
            &g,
            r#","members_max":5"#,
            ErrorCode::BadFrame,
        )
        .await;
}

#[tokio::test]
async fn what_is_disbanded_is_read_and_left_and_nothing_else() {
    use ErrorCode::{Forbidden, NotFound};
    let world = World::new().await;
    let g = world.group("al", &["bo", "cy"]).await;
    let said = world.say("bo", &g, "x").await;
    world
        .does_in("al", "groups.role", &g, r#","user":"cy","role":"admin""#)
        .await;
    world
        .does_in("al", "groups.set", &g, r#","join":"open""#)
        .await;
    let link = world.does_in("al", "invites.create", &g, "").await;
    for who in ["bo", "cy"] {
        world
            .fails_in(who, "groups.disband", &g, "", Forbidden)
            .await;
    }
    world
        .fails_in("zo", "groups.disband", &g, "", NotFound)
        .await;
    for _ in 0..2 {
        world.does_in("al", "groups.disband", &g, "").await;
    }
    for who in ["al", "bo"] {
        for body in [
            TEXT.to_owned(),
            format!(r#"{{"kind":"react","target":{},"emoji":"👍"}}"#, said.0),
            format!(r#"{{"kind":"recall","target":{}}}"#, said.0),
        ] {
            assert_eq!(world.body(who, &g, &body).await, Err(Forbidden), "{body}");
        }
    }
    for (method, rest) in [
        ("groups.add", r#","users":["dy"]"#),
        ("groups.remove", r#","users":["bo"]"#),
        ("groups.set", r#","title":"T""#),
        ("groups.set", r#","speaks":"member""#),
        ("groups.role", r#","user":"bo","role":"admin""#),
        ("groups.mute", r#","user":"bo","ms":1"#),
        ("groups.nick", r#","nick":"N""#),
        ("groups.ban", r#","user":"bo""#),
        ("invites.create", ""),
        ("announcements.add", r#","text":"x""#),
    ] {
        world.fails_in("al", method, &g, rest, Forbidden).await;
    }
    world.fails_in("dy", "groups.join", &g, "", NotFound).await;
    let refused = world.call("dy", "invites.join", &link.to_json()).await;
    assert_eq!(refused, Err(NotFound));
    // What was said stays theirs, and the owner may go too.
    let is = world.does_in("bo", "conv.get", &g, "").await;
    assert_eq!(is.get("disbanded"), Some(&Value::Bool(true)));
    let page = world
        .does_in("bo", "conv.entries", &g, r#","after":0"#)
        .await;
    assert_eq!(
        each(&page, "entries", "from").len(),
        world.log(&g).await.len()
    );
    world.does_in("al", "groups.leave", &g, "").await;
    world.does_in("bo", "groups.leave", &g, "").await;
    let log = world.log(&g).await;
    let told = log.iter().filter(|entry| entry.body.kind() == Kind::Group);
    assert_eq!(told.count(), 3);
}
