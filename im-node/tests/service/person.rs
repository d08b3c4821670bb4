//! One person's data: given to them, and erased.

use std::time::Duration;

use im_core::frame::ErrorCode;
use im_core::model::{
    ConversationId, Fact, FactKey, FactTable, Kind, Role, Seq, Target, Value, direct_id,
};
use im_core::port::{FactQuery, Store as _};

use super::kit::{World, user};

const OFTEN: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(30);

async fn world() -> World {
    World::with(|settings| settings.due = OFTEN).await
}

/// All pages of a user's export, each bounded.
async fn export(world: &World, who: &str) -> Vec<Value> {
    let (mut lines, mut after) = (Vec::new(), Value::Null);
    for _ in 0..1_000 {
        let params = Value::object([("after", after)]).to_json();
        let page = world.call(who, "me.export", &params).await.unwrap();
        let text = page.get("ndjson").and_then(Value::as_text).unwrap();
        assert!(text.len() < 1 << 20, "{}", text.len());
        lines.extend(text.lines().map(|line| Value::from_json(line).unwrap()));
        match page.get("next") {
            Some(next) => after = next.clone(),
            None => return lines,
        }
    }
    panic!("an export ends");
}

fn of(lines: &[Value], kind: &str) -> Vec<String> {
    let is = |line: &&Value| line.get("kind").and_then(Value::as_text) == Some(kind);
    lines.iter().filter(is).map(Value::to_json).collect()
}

async fn erased(world: &World, who: &str) {
    let confirm = format!(r#"{{"confirm":"{who}"}}"#);
    world
        .gives(who, "me.erase", &confirm, r#"{"state":"erasing"}"#)
        .await;
    let key = FactKey::new(FactTable::Erasure, who, "");
    let wait = async {
        loop {
            let fact = world
                .store
                .facts(&FactQuery::One(key.clone()))
                .await
                .unwrap()
                .pop();
            if fact.is_some_and(|fact| fact.value.contains("\"done\"")) {
                break;
            }
            tokio::time::sleep(OFTEN).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}

async fn words(world: &World, conv: &ConversationId) -> Vec<String> {
    let log = world.log(conv).await;
    log.iter()
        .filter(|entry| matches!(entry.body.kind(), Kind::Text | Kind::Erased))
        .map(|entry| entry.body.as_text().unwrap_or_else(|| "-".to_owned()))
        .collect()
}

async fn direct(world: &World, from: &str, to: &str, text: &str) -> ConversationId {
    let body = format!(r#"{{"kind":"text","text":"{text}"}}"#);
    let draft = world.draft(Target::User(user(to)), &body);
    world.send(from, &draft).await.unwrap();
    direct_id(&user(from), &user(to))
}

/// Everything that is one's own comes once, and nothing that others said.
#[tokio::test]
async fn everything_that_is_ones_own_is_given_and_nothing_else() {
    let world = world().await;
    let conv = world.group("al", &["bo", "cy"]).await;
    for n in 0..450 {
        world
            .say("al", &conv, &format!("mine {n} {}", "x".repeat(900)))
            .await;
        world.say("bo", &conv, &format!("theirs {n}")).await;
    }
    direct(&world, "al", "bo", "hello").await;
    let secret = direct(&world, "bo", "cy", "secret").await;
    for (method, params) in [
        ("profile.set", r#"{"name":"Al"}"#),
        ("drafts.set", r#"{"conv":"g","draft":"dr"}"#),
        ("friends.ask", r#"{"user":"bo","note":"please"}"#),
        ("privacy.set", r#"{"presence":"nobody"}"#),
    ] {
        world.call("al", method, params).await.unwrap();
    }
    for n in 0..60 {
        let params = format!(r#"{{"conv":"h{n}","draft":"d{n}"}}"#);
        world.call("al", "drafts.set", &params).await.unwrap();
    }
    let lines = export(&world, "al").await;
    assert_eq!(of(&lines, "message").len(), 452);
    assert_eq!(of(&lines, "conversation").len(), 2);
    let facts = of(&lines, "fact");
    assert_eq!(facts.len(), 64, "{facts:?}");
    let all: String = lines.iter().map(Value::to_json).collect();
    assert!(all.contains("\"please\"") && all.contains("mine 449") && all.contains("\"Al\""));
    assert!(!all.contains("theirs") && !all.contains("secret"));
    // Who joined no conversation has nothing to get; who left has what they said there.
    world
        .gives(
            "cy",
            "groups.leave",
            &format!(r#"{{"conv":"{}"}}"#, conv.as_str()),
            "{}",
        )
        .await;
    assert_eq!(of(&export(&world, "cy").await, "conversation").len(), 2);
    assert!(export(&world, "stranger").await.is_empty());
    drop(secret);
}

/// Nothing that a client makes up gets it more than its own.
#[tokio::test]
async fn a_page_that_was_made_up_gives_nothing_of_others() {
    let world = world().await;
    let conv = direct(&world, "bo", "cy", "secret").await;
    world
        .call("bo", "profile.set", r#"{"name":"Bo"}"#)
        .await
        .unwrap();
    for after in [
        "f.0", "f.5.bo", "f.99", "l.0.0", "l.0.ffff", "l.9.1", "f.3.\n",
    ] {
        let params = Value::object([("after", Value::from(after))]).to_json();
        let page = world
            .call("al", "me.export", &params)
            .await
            .unwrap()
            .to_json();
        assert!(
            !page.contains("secret") && !page.contains("Bo"),
            "{after} {page}"
        );
        assert!(!page.contains(conv.as_str()));
    }
    for after in ["", "x", "f.x", "l.1", "l.1.-"] {
        let params = Value::object([("after", Value::from(after))]).to_json();
        let page = world.call("al", "me.export", &params).await;
        assert_eq!(page, Err(ErrorCode::BadFrame), "{after}");
    }
}

/// A group of `al`'s, what was said there and done to it, and what `al` has with others.
struct Life {
    conv: ConversationId,
    /// The first thing that `al` said, and `bo`.
    mine: Seq,
    theirs: Seq,
    /// With `bo` alone.
    talk: ConversationId,
}

async fn life(world: &World) -> Life {
    let conv = world.group("al", &["bo", "cy"]).await;
    let mine = world.say("al", &conv, "mine").await;
    let theirs = world.say("bo", &conv, "theirs").await;
    for n in 0..500 {
        world.say("al", &conv, &format!("more {n}")).await;
    }
    let react = |seq: Seq, emoji: &str| {
        let seq = seq.0;
        format!(r#"{{"kind":"react","target":{seq},"emoji":"{emoji}"}}"#)
    };
    let edit = format!(r#"{{"kind":"edit","target":{},"text":"edited"}}"#, mine.0);
    for (who, body) in [
        ("al", edit),
        ("bo", react(mine, "+")),
        ("al", react(theirs, "-")),
        ("cy", react(theirs, "+")),
    ] {
        world.body(who, &conv, &body).await.unwrap();
    }
    let talk = direct(world, "al", "bo", "hello").await;
    direct(world, "bo", "al", "hello back").await;
    for (who, method, params) in [
        ("al", "profile.set", r#"{"name":"Al"}"#),
        ("al", "friends.ask", r#"{"user":"bo"}"#),
        ("cy", "friends.ask", r#"{"user":"al"}"#),
        ("al", "drafts.set", r#"{"conv":"g","draft":"dr"}"#),
        ("bo", "blocks.add", r#"{"user":"al"}"#),
    ] {
        world.call(who, method, params).await.unwrap();
    }
    Life {
        conv,
        mine,
        theirs,
        talk,
    }
}

async fn facts(world: &World, table: FactTable, owner: &str) -> Vec<Fact> {
    let query = FactQuery::Of {
        table,
        owner: owner.to_owned(),
        after: None,
        below: None,
        limit: 100,
    };
    world.store.facts(&query).await.unwrap()
}

/// What they said is erased, what is kept of them is gone, others have theirs.
#[tokio::test]
async fn an_erased_user_leaves_nothing_of_their_own() {
    let world = world().await;
    let life = life(&world).await;
    let conv = &life.conv;
    let bad = world.call("al", "me.erase", r#"{"confirm":"bo"}"#).await;
    assert_eq!(bad, Err(ErrorCode::BadFrame));
    erased(&world, "al").await;
    let left = words(&world, conv).await;
    let left: Vec<_> = left.iter().filter(|text| *text != "-").collect();
    assert_eq!(left, ["theirs"]);
    assert_eq!(words(&world, &life.talk).await, ["-", "hello back"]);
    let log = world.log(conv).await;
    let says = |word| log.iter().any(|entry| entry.body.json().contains(word));
    assert!(!says("edited") && !says("mine") && says("theirs"));
    let marks = facts(&world, FactTable::Mark, conv.as_str()).await;
    let keys: Vec<_> = marks.iter().map(|fact| fact.key.key.as_str()).collect();
    let theirs = format!("{:016x}\nr\ncy\n+", life.theirs.0);
    assert_eq!(keys, [theirs.as_str()]);
    for table in FactTable::ALL {
        for who in ["al", "bo", "cy"] {
            for fact in facts(&world, *table, who).await {
                let is_of_al = who == "al" || fact.key.key == "al";
                assert!(!is_of_al || *table == FactTable::Erasure, "{fact:?}");
            }
        }
    }
    // Whom others block stays blocked.
    let block = im_core::port::RecordKey::Block {
        user: user("bo"),
        other: user("al"),
    };
    let now = im_core::model::Timestamp(1_790_000_000_000);
    assert!(world.store.record(&block, now).await.unwrap().is_some());
}

/// The group goes on with another owner; nobody takes the name, and what was theirs is changed no
/// more.
#[tokio::test]
async fn an_erased_user_is_nobody_and_their_group_goes_on() {
    let world = world().await;
    let life = life(&world).await;
    let conv = &life.conv;
    erased(&world, "al").await;
    let view = world.store.view(conv, &["al", "bo", "cy"].map(user)).await;
    let members = view.unwrap().unwrap().members;
    assert!(!members[0].is_in(), "{members:?}");
    assert_eq!(members[1].role, Role::Owner, "{members:?}");
    world.say("bo", conv, "on").await;
    for (method, params) in [("profile.set", r#"{"name":"Al"}"#), ("me.export", "{}")] {
        let done = world.call("al", method, params).await;
        assert_eq!(done, Err(ErrorCode::Forbidden));
    }
    let late = r#"{"kind":"text","text":"late"}"#;
    let late = world.body("al", conv, late).await;
    assert_eq!(late, Err(ErrorCode::Forbidden));
    for kind in [
        r#""kind":"react","emoji":"+""#,
        r#""kind":"recall""#,
        r#""kind":"pin""#,
    ] {
        let body = format!(r#"{{{kind},"target":{}}}"#, life.mine.0);
        let done = world.body("bo", conv, &body).await;
        assert_eq!(done, Err(ErrorCode::NotFound), "{body}");
    }
    let to_al = r#"{"kind":"text","text":"x"}"#;
    let to_al = world.draft(Target::User(user("al")), to_al);
    assert_eq!(world.send("dora", &to_al).await, Err(ErrorCode::NotFound));
}

/// A node that dies in the middle is no reason to stop: another one goes on.
#[tokio::test]
async fn an_erasure_goes_on_where_a_node_died() {
    let world = World::with(|settings| settings.due = Duration::from_secs(3_600)).await;
    let conv = world.group("bo", &["al"]).await;
    for n in 0..400 {
        world.say("al", &conv, &n.to_string()).await;
    }
    world
        .call("al", "me.erase", r#"{"confirm":"al"}"#)
        .await
        .unwrap();
    world.node.kill();
    let next = world.beside(OFTEN).await;
    let key = FactKey::new(FactTable::Erasure, "al", "");
    let wait = async {
        loop {
            let fact = world
                .store
                .facts(&FactQuery::One(key.clone()))
                .await
                .unwrap()
                .pop();
            if fact.unwrap().value.contains("\"done\"") {
                break;
            }
            tokio::time::sleep(OFTEN).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
    assert!(words(&world, &conv).await.iter().all(|text| text == "-"));
    drop(next);
}
