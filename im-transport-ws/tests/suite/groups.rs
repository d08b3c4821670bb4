//! Groups: who gets what, and the last that the removed get.

use std::time::Duration;

use im_core::model::Value;
use im_core::port::MemberOp;
use im_testkit::memory::Fault;

use crate::kit::Kit;
use crate::peer::{Peer, int, message, text};

async fn group(owner: &mut Peer, members: &str) -> String {
    let params = format!(r#"{{"title":"G","members":[{members}]}}"#);
    text(&owner.call("groups.create", &params).await, "conv")
}

#[tokio::test]
async fn a_group_reaches_its_members_and_nobody_else() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    let mut cara = kit.peer("cara", "d").await;
    let conv = group(&mut ana, r#""ben""#).await;
    let event = ben.next().await;
    assert_eq!(text(event.get("line").unwrap(), "title"), "G");
    let made = ben.get("entry").await;
    assert_eq!(
        (text(made.get("body").unwrap(), "kind"), int(&made, "seq")),
        ("group".into(), 1)
    );
    let to = format!(r#"{{"conv":"{conv}"}}"#);
    ben.send("c1", &to, "hello").await;
    while int(&ana.get("entry").await, "seq") != 2 {}
    cara.is_quiet("entry").await;
    // Who is added gets the line, then everything from there on.
    let add = format!(r#"{{"conv":"{conv}","users":["cara"]}}"#);
    ana.call("groups.add", &add).await;
    let event = cara.next().await;
    assert_eq!(text(&event, "kind"), "conv");
    assert_eq!(int(&cara.get("entry").await, "seq"), 3);
    ben.send("c2", &to, "all").await;
    assert_eq!(int(&cara.get("entry").await, "seq"), 4);
}

#[tokio::test]
async fn the_removal_is_the_last_that_the_removed_get_also_in_a_race() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    let conv = group(&mut ana, r#""ben", "cara""#).await;
    let to = format!(r#"{{"conv":"{conv}"}}"#);
    for at in 0..10 {
        ana.say(&message(&format!("a{at}"), &to, "x")).await;
    }
    let params = format!(r#"{{"conv":"{conv}","users":["ben"]}}"#);
    let remove = format!(r#"{{"t":"req","id":1,"method":"groups.remove","params":{params}}}"#);
    ana.say(&remove).await;
    for at in 0..10 {
        ana.say(&message(&format!("b{at}"), &to, "x")).await;
    }
    let mut last = 0;
    let removal = loop {
        let entry = ben.get("entry").await;
        last += 1;
        assert_eq!(int(&entry, "seq"), last);
        if text(entry.get("body").unwrap(), "op") == "remove" {
            break last;
        }
    };
    ben.is_quiet("entry").await;
    ben.say(&message("c1", &to, "still here?")).await;
    assert_eq!(ben.refused().await, "not_member");
    let pull = |after| format!(r#"{{"t":"pull","id":1,"conv":"{conv}","after":{after}}}"#);
    ben.say(&pull(0)).await;
    let page = ben.get("page").await;
    let Some(Value::Array(entries)) = page.get("entries") else {
        panic!()
    };
    assert_eq!(int(entries.last().unwrap(), "seq"), removal);
    assert_eq!(page.get("more"), Some(&Value::Bool(false)));
    ben.say(&pull(removal)).await;
    assert_eq!(ben.refused().await, "not_member");
    ben.say(r#"{"t":"sync","id":2,"since":"x"}"#).await;
    ben.get("synced").await;
    // Back again: the line, then what comes.
    let add = format!(r#"{{"conv":"{conv}","users":["ben"]}}"#);
    ana.call("groups.add", &add).await;
    while text(&ben.next().await, "kind") != "conv" {}
    let entry = ben.get("entry").await;
    assert_eq!(text(entry.get("body").unwrap(), "op"), "add");
}

#[tokio::test]
async fn a_pull_that_was_under_way_at_the_removal_shows_nothing_after_it() {
    // Each read of the store takes so long; the page is read after who may see it.
    const SLOW: Duration = Duration::from_millis(400);
    let kit = Kit::with(|settings| settings.sweep = Duration::from_secs(3_600)).await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    for (at, range) in [r#""after":0"#, r#""before":99"#].into_iter().enumerate() {
        let conv = group(&mut ana, r#""ben""#).await;
        let to = format!(r#"{{"conv":"{conv}"}}"#);
        ana.send(&format!("c{at}"), &to, "before").await;
        kit.store.set_reads(Some(Fault::Delay(SLOW)));
        ben.say(&format!(r#"{{"t":"pull","id":1,"conv":"{conv}",{range}}}"#))
            .await;
        tokio::time::sleep(SLOW * 3 / 2).await;
        kit.change_elsewhere(&conv, "ben", MemberOp::Remove).await;
        kit.say_elsewhere(&conv, "ben must not see this").await;
        let page = ben.get("page").await;
        kit.store.set_reads(None);
        let Some(Value::Array(entries)) = page.get("entries") else {
            panic!("{page:?}")
        };
        let last = int(entries.last().unwrap(), "seq");
        assert!((2..=3).contains(&last), "{range}: {page:?}");
    }
}

#[tokio::test]
async fn roles_decide_and_a_muted_member_may_try_again_later() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    let conv = group(&mut ana, r#""ben", "cara""#).await;
    for (method, params) in [
        ("groups.add", r#""users":["dora"]"#),
        ("groups.remove", r#""users":["cara"]"#),
        ("groups.remove", r#""users":["ana"]"#),
        ("groups.role", r#""user":"ben","role":"owner""#),
        ("groups.mute", r#""user":"ana","ms":1000"#),
    ] {
        let frame = format!(
            r#"{{"t":"req","id":1,"method":"{method}","params":{{"conv":"{conv}",{params}}}}}"#
        );
        ben.say(&frame).await;
        assert_eq!(ben.refused().await, "forbidden", "{frame}");
    }
    let mute = |ms| format!(r#"{{"conv":"{conv}","user":"ben","ms":{ms}}}"#);
    ana.call("groups.mute", &mute(60_000)).await;
    let to = format!(r#"{{"conv":"{conv}"}}"#);
    ben.say(&message("c1", &to, "x")).await;
    let err = ben.get("err").await;
    assert_eq!(text(&err, "code"), "muted");
    assert!((1..=60_000).contains(&int(&err, "retry_after_ms")));
    ana.call("groups.mute", &mute(0)).await;
    ben.send("c1", &to, "x").await;
}

#[tokio::test]
async fn a_request_with_a_key_is_done_once() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let params = r#"{"title":"G","members":[]}"#;
    let frame =
        format!(r#"{{"t":"req","id":1,"method":"groups.create","key":"k","params":{params}}}"#);
    let mut convs = Vec::new();
    for _ in 0..3 {
        ana.say(&frame).await;
        convs.push(ana.get("res").await.get("value").cloned());
    }
    convs.dedup();
    assert_eq!(convs.len(), 1);
    ana.say(r#"{"t":"req","id":1,"method":"groups.destroy","params":{}}"#)
        .await;
    assert_eq!(ana.refused().await, "unsupported");
}
