//! Edits, recalls, reactions, pins, and what is known of them beside the log.

use im_core::frame::ErrorCode;
use im_core::model::{ConversationId, Kind, Seq, Value};
use im_core::rule::{ChangeWindows, Timeline};
use proptest::prelude::*;

use super::kit::World;

fn of(conv: &ConversationId, rest: &str) -> String {
    format!(r#"{{"conv":"{}"{rest}}}"#, conv.as_str())
}

fn edit(seq: Seq, words: &str) -> String {
    format!(r#"{{"kind":"edit","target":{},"text":"{words}"}}"#, seq.0)
}

fn recall(seq: Seq) -> String {
    format!(r#"{{"kind":"recall","target":{}}}"#, seq.0)
}

fn react(seq: Seq, emoji: &str, on: bool) -> String {
    let target = seq.0;
    format!(r#"{{"kind":"react","target":{target},"emoji":"{emoji}","on":{on}}}"#)
}

fn pin(seq: Seq, on: bool) -> String {
    format!(r#"{{"kind":"pin","target":{},"on":{on}}}"#, seq.0)
}

/// What `conv.states` and `conv.pins` say of a log.
async fn states(world: &World, conv: &ConversationId, who: &str) -> Vec<(Seq, Value)> {
    let all = of(conv, r#","from":1,"to":200"#);
    let value = world.call(who, "conv.states", &all).await.unwrap();
    let Some(Value::Array(states)) = value.get("states") else {
        panic!("{value:?}");
    };
    let seq = |state: &Value| Seq(state.get("seq").and_then(Value::as_int).unwrap() as u64);
    states
        .iter()
        .map(|state| (seq(state), state.clone()))
        .collect()
}

async fn pins(world: &World, conv: &ConversationId, who: &str) -> Vec<u64> {
    let value = world.call(who, "conv.pins", &of(conv, "")).await.unwrap();
    let Some(Value::Array(pins)) = value.get("pins") else {
        panic!("{value:?}");
    };
    let seq = |pin: &Value| pin.get("seq").and_then(Value::as_int).unwrap() as u64;
    pins.iter().map(seq).collect()
}

/// What is recalled is gone from the log, with its edits, its reactions and its pin.
#[tokio::test]
async fn what_is_recalled_is_erased() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let said = world.say("bo", &g, "secret 1").await;
    let other = world.say("bo", &g, "other").await;
    world.body("bo", &g, &edit(said, "secret 2")).await.unwrap();
    world.say("al", &g, "between").await;
    world.body("bo", &g, &edit(said, "secret 3")).await.unwrap();
    world.body("bo", &g, &edit(other, "kept")).await.unwrap();
    world
        .body("al", &g, &react(said, "👍", true))
        .await
        .unwrap();
    world.body("al", &g, &pin(said, true)).await.unwrap();
    world.body("bo", &g, &recall(said)).await.unwrap();
    let log = world.log(&g).await;
    let all = log.iter().map(|entry| entry.body.json().to_string());
    assert!(
        all.clone().all(|body| !body.contains("secret")),
        "{:?}",
        all.collect::<Vec<_>>()
    );
    let erased = log.iter().filter(|entry| entry.body.kind() == Kind::Erased);
    assert_eq!(erased.count(), 3);
    assert!(pins(&world, &g, "al").await.is_empty());
    let states = states(&world, &g, "al").await;
    assert_eq!(
        states.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
        [said, other]
    );
    assert!(states[0].1.get("recalled").is_some() && states[0].1.get("edited").is_none());
    for body in [edit(said, "x"), recall(said), react(said, "x", true)] {
        let refused = world.body("bo", &g, &body).await;
        assert_eq!(refused, Err(ErrorCode::NotFound));
    }
    let refused = world.body("al", &g, &pin(said, true)).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
}

/// Changes come in time: an author's within the window of their role, and from above at any time.
#[tokio::test]
async fn what_is_old_is_changed_from_above_only() {
    let closed = ChangeWindows {
        edit_ms: Some(0),
        admin_edit_ms: Some(60_000),
        recall_ms: Some(0),
    };
    let world = World::with(|settings| settings.changes = closed).await;
    let g = world.group("al", &["bo"]).await;
    let of_bo = world.say("bo", &g, "1").await;
    let of_al = world.say("al", &g, "2").await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    for body in [edit(of_bo, "x"), recall(of_bo)] {
        assert_eq!(world.body("bo", &g, &body).await, Err(ErrorCode::Forbidden));
    }
    world.body("al", &g, &edit(of_al, "x")).await.unwrap();
    world.body("al", &g, &recall(of_bo)).await.unwrap();
}

#[tokio::test]
async fn changes_are_bounded() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let said = world.say("al", &g, "0").await;
    for n in 0..20 {
        world
            .body("bo", &g, &react(said, &format!("e{n}"), true))
            .await
            .unwrap();
    }
    let more = world.body("bo", &g, &react(said, "e20", true)).await;
    assert_eq!(more, Err(ErrorCode::Conflict));
    world
        .body("bo", &g, &react(said, "e7", true))
        .await
        .unwrap();
    world
        .body("bo", &g, &react(said, "e7", false))
        .await
        .unwrap();
    world
        .body("bo", &g, &react(said, "e20", true))
        .await
        .unwrap();
    world
        .body("al", &g, &react(said, "e0", true))
        .await
        .unwrap();
    for n in 0..100 {
        world
            .body("al", &g, &edit(said, &n.to_string()))
            .await
            .unwrap();
    }
    let more = world.body("al", &g, &edit(said, "100")).await;
    assert_eq!(more, Err(ErrorCode::Conflict));
    let body = r#"{"kind":"location","lat":1,"lng":2}"#;
    let place = world.body("al", &g, body).await.unwrap();
    let refused = world.body("al", &g, &edit(place, "x")).await;
    assert_eq!(refused, Err(ErrorCode::Conflict));
    for n in 0..100 {
        let seq = world.say("al", &g, &n.to_string()).await;
        world.body("al", &g, &pin(seq, true)).await.unwrap();
    }
    let refused = world.body("al", &g, &pin(said, true)).await;
    assert_eq!(refused, Err(ErrorCode::Conflict));
}

#[tokio::test]
async fn who_has_read_a_message_is_told_in_conversations_of_few() {
    let world = World::new().await;
    let g = world.group("al", &["bo", "cy"]).await;
    let seq = world.say("al", &g, "1").await;
    let params = of(&g, &format!(r#","seq":{}"#, seq.0));
    let none = r#"{"read":[],"delivered":[],"waiting":["al","bo","cy"]}"#;
    world.gives("al", "messages.readers", &params, none).await;
    let refused = world.call("dee", "messages.readers", &params).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
    let ahead = of(&g, r#","seq":99"#);
    let refused = world.call("al", "messages.readers", &ahead).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
    let many: Vec<String> = (0..499).map(|n| format!("u{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let large = world.group("al", &many).await;
    world
        .gives("al", "groups.add", &of(&large, r#","users":["v"]"#), "{}")
        .await;
    let params = of(&large, r#","seq":1"#);
    let refused = world.call("al", "messages.readers", &params).await;
    assert_eq!(refused, Err(ErrorCode::TooLarge));
}

/// Something that a user does.
#[derive(Debug, Clone)]
enum Step {
    Say,
    Edit(usize),
    Recall(usize),
    React(usize, usize, bool),
    Pin(usize, bool),
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let at = 0..6_usize;
    let step = prop_oneof![
        Just(Step::Say),
        at.clone().prop_map(Step::Edit),
        at.clone().prop_map(Step::Recall),
        (at.clone(), 0..2_usize, any::<bool>()).prop_map(|(at, e, on)| Step::React(at, e, on)),
        (at, any::<bool>()).prop_map(|(at, on)| Step::Pin(at, on)),
    ];
    (0..3_usize, step)
}

/// The body of a step, of which `said` are the messages so far.
fn body(step: &Step, said: &[Seq], n: usize) -> Option<String> {
    let at = |at: &usize| said.get(at % said.len().max(1)).copied();
    Some(match step {
        Step::Say => format!(r#"{{"kind":"text","text":"t{n}"}}"#),
        Step::Edit(target) => edit(at(target)?, &format!("e{n}")),
        Step::Recall(target) => recall(at(target)?),
        Step::React(target, emoji, on) => react(at(target)?, ["a", "b"][*emoji], *on),
        Step::Pin(target, on) => pin(at(target)?, *on),
    })
}

/// What is kept beside the log says the same as the log replayed, after every step.
fn is_the_same(timeline: &Timeline, states: &[(Seq, Value)], pins: &[u64]) {
    let pinned = timeline
        .iter()
        .filter(|(_, message)| message.pinned.is_some());
    assert_eq!(pinned.map(|(seq, _)| seq.0).collect::<Vec<_>>(), pins);
    for (seq, message) in timeline.iter() {
        let state = states
            .iter()
            .find(|(at, _)| *at == seq)
            .map(|(_, state)| state);
        let field = |field: &str| state.and_then(|state| state.get(field));
        assert_eq!(
            field("recalled").is_some(),
            message.recalled.is_some(),
            "{seq:?}"
        );
        let text = field("edited")
            .and_then(|edited| edited.get("text"))
            .and_then(Value::as_text);
        let shown = message.edited.as_ref().and_then(|_| message.body.as_text());
        assert_eq!(text.map(str::to_owned), shown, "{seq:?}");
        let kept = match field("reactions") {
            Some(Value::Array(reactions)) => reactions.iter().map(reaction).collect(),
            _ => Vec::new(),
        };
        let replayed = message.reactions.iter();
        let replayed = replayed.map(|(emoji, users)| {
            let users = users.iter().map(|user| user.as_str().to_owned());
            (emoji.clone(), users.collect())
        });
        assert_eq!(kept, replayed.collect::<Vec<_>>(), "{seq:?}");
    }
}

fn reaction(value: &Value) -> (String, Vec<String>) {
    let Some(Value::Array(users)) = value.get("users") else {
        panic!("{value:?}");
    };
    let users = users.iter().filter_map(Value::as_text).map(str::to_owned);
    let emoji = value.get("emoji").and_then(Value::as_text).unwrap();
    (emoji.to_owned(), users.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_kept_beside_the_log_is_the_log_replayed(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let g = world.group("al", &["bo", "cy"]).await;
            let mut said = Vec::new();
            let mut prefix = Timeline::default();
            for (n, (who, step)) in steps.iter().enumerate() {
                let Some(body) = body(step, &said, n) else { continue };
                let sent = world.body(["al", "bo", "cy"][*who], &g, &body).await;
                if let (Step::Say, Ok(seq)) = (step, sent) {
                    said.push(seq);
                }
                let states = states(&world, &g, "al").await;
                let pins = pins(&world, &g, "al").await;
                is_the_same(&world.timeline(&g).await, &states, &pins);
                // Who followed the log from the beginning has the same.
                for entry in world.log(&g).await {
                    prefix.apply(&entry);
                }
                is_the_same(&prefix, &states, &pins);
            }
        });
    }
}

/// An edit and the recall of the same message that are on their way at once, from two devices:
/// nothing of it is left, whichever comes first.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_crosses_a_recall_leaves_nothing() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    for n in 0..40 {
        let said = world.say("bo", &g, &format!("secret {n}")).await;
        let (edit, recall) = (edit(said, &format!("secret e{n}")), recall(said));
        let reaction = react(said, "secret", true);
        let edited = world.body("bo", &g, &edit);
        let recalled = world.body("al", &g, &recall);
        let reacted = world.body("al", &g, &reaction);
        // Decided one after the other, before any is stored: either may be the first.
        let (edited, recalled) = if n % 2 == 0 {
            let (edited, recalled, _) = tokio::join!(edited, recalled, reacted);
            (edited, recalled)
        } else {
            let (recalled, edited, _) = tokio::join!(recalled, edited, reacted);
            (edited, recalled)
        };
        assert!(recalled.is_ok(), "{recalled:?}");
        assert!(
            edited.is_ok() || edited == Err(ErrorCode::NotFound),
            "{edited:?}"
        );
        let log = world.log(&g).await;
        let bodies: Vec<_> = log.iter().map(|entry| entry.body.json()).collect();
        let texts = bodies.iter().filter(|body| body.contains("text"));
        assert!(
            !texts.clone().any(|body| body.contains("secret")),
            "{:?}",
            texts.collect::<Vec<_>>()
        );
        let states = states(&world, &g, "al").await;
        let state = states
            .iter()
            .find(|(seq, _)| *seq == said)
            .map(|(_, state)| state.to_json());
        let state = state.unwrap();
        assert!(
            !state.contains("secret") && state.contains("recalled"),
            "{state}"
        );
    }
}

/// Who left is told nothing of what was done since.
#[tokio::test]
async fn who_left_is_told_no_states() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let said = world.say("al", &g, "x").await;
    world.gives("bo", "groups.leave", &of(&g, ""), "{}").await;
    let seq = format!(r#","seq":{},"from":1,"to":9,"seqs":[{}]"#, said.0, said.0);
    for method in [
        "conv.states",
        "conv.pins",
        "messages.readers",
        "messages.hide",
    ] {
        let refused = world.call("bo", method, &of(&g, &seq)).await;
        assert_eq!(refused, Err(ErrorCode::NotMember), "{method}");
    }
}
