//! What every node keeps in memory, when another one changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use im_core::frame::{CloseCode, ErrorCode};
use im_core::model::{CmId, Draft, Target, Value};
use im_node::{Node, Settings};

use super::kit::{Client, Cluster, int, text};
use crate::service::kit::{eventually, identity, user};

async fn act(node: &Node, who: &str, method: &str, params: &str) -> Value {
    let params = Value::from_json(params).unwrap();
    let (service, who) = (node.service(), identity(who));
    service.call_as(&who, method, params, None).await.unwrap()
}

async fn says(node: &Node, n: usize, words: &str) -> Result<(), ErrorCode> {
    let to = Target::User(user("ben"));
    let draft = Draft::text(CmId::new(format!("c{n}")).unwrap(), to, words);
    let sent = node.service().send(&user("ana"), &draft).await;
    sent.map(drop).map_err(|failure| failure.code)
}

/// Nodes that look for changes by themselves only so often.
fn settings(name: &str, lists: Duration) -> Settings {
    let mut settings = Settings {
        lists,
        ..Cluster::settings(name)
    };
    settings.limits.sends_per_s = 1_000_000;
    settings
}

const NEVER: Duration = Duration::from_secs(3_600);

/// A second node that no word of the bus reaches.
async fn deaf(cluster: &mut Cluster, lists: Duration) -> Node {
    cluster.bus = Arc::new(im_node::local::LocalBus::new());
    cluster.start(settings("b", lists)).await.unwrap()
}

#[tokio::test]
async fn a_word_is_in_force_on_every_node_soon() {
    let cluster = Cluster::new();
    let a = cluster.start(settings("a", NEVER)).await.unwrap();
    let b = cluster.start(settings("b", NEVER)).await.unwrap();
    act(&a, "adm", "admin.words.add", r#"{"word":"heroin"}"#).await;
    for node in [&a, &b] {
        let mut n = 0;
        eventually(async || {
            n += 1;
            says(node, n, "heroin").await == Err(ErrorCode::Rejected)
        })
        .await;
    }
    // Who starts later knows it from the beginning.
    let c = cluster.start(settings("c", NEVER)).await.unwrap();
    assert_eq!(
        says(&c, 1_000_000, "heroin").await,
        Err(ErrorCode::Rejected)
    );
}

#[tokio::test]
async fn a_change_that_the_bus_lost_is_found() {
    let mut cluster = Cluster::new();
    let a = cluster.start(settings("a", NEVER)).await.unwrap();
    let b = deaf(&mut cluster, Duration::from_millis(50)).await;
    let mut ben = Client::connect(&b, "ben", "d").await;
    act(&a, "adm", "admin.words.add", r#"{"word":"heroin"}"#).await;
    let ban = r#"{"user":"ben","why":"spam"}"#;
    act(&a, "adm", "admin.users.ban", ban).await;
    let mut n = 0;
    eventually(async || {
        n += 1;
        says(&b, n, "heroin").await == Err(ErrorCode::Rejected)
    })
    .await;
    // Nobody told this node to end it.
    assert_eq!(ben.closed().await, CloseCode::Banned);
    let mut again = Client::hello(&b, "ben", "d");
    assert_eq!(again.closed().await, CloseCode::Banned);
}

#[tokio::test]
async fn who_is_banned_is_gone_from_every_node_at_once() {
    let cluster = Cluster::new();
    let a = cluster.start(settings("a", NEVER)).await.unwrap();
    let b = cluster.start(settings("b", NEVER)).await.unwrap();
    let mut phone = Client::connect(&a, "ben", "phone").await;
    let mut tablet = Client::connect(&b, "ben", "tablet").await;
    let mut laptop = Client::connect(&b, "ben", "laptop").await;
    let kick = r#"{"user":"ben","device":"tablet","why":"lost"}"#;
    act(&a, "mod", "admin.users.kick", kick).await;
    assert_eq!(tablet.closed().await, CloseCode::Banned);
    let known = act(&a, "mod", "admin.users.get", r#"{"user":"ben"}"#).await;
    assert!(known.to_json().contains("laptop") && known.to_json().contains("phone"));
    let ban = r#"{"user":"ben","ms":400,"why":"spam"}"#;
    act(&a, "mod", "admin.users.ban", ban).await;
    assert_eq!(phone.closed().await, CloseCode::Banned);
    assert_eq!(laptop.closed().await, CloseCode::Banned);
    let mut again = Client::hello(&a, "ben", "phone");
    assert_eq!(again.closed().await, CloseCode::Banned);
    // It ends by itself.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Client::connect(&b, "ben", "phone").await;
}

#[tokio::test]
async fn what_a_connection_sends_is_judged_also_when_nothing_is_read_for_it() {
    let cluster = Cluster::new();
    let a = cluster.start(settings("a", NEVER)).await.unwrap();
    let lines = r#"{"lines":"darn\tmask\nheroin\ncasino\treview"}"#;
    act(&a, "adm", "admin.words.import", lines).await;
    eventually(async || {
        let tried = act(&a, "adm", "admin.words.try", r#"{"text":"x"}"#).await;
        int(&tried, "listed") == 3
    })
    .await;
    let mut ana = Client::connect(&a, "ana", "d").await;
    let mut ben = Client::connect(&a, "ben", "d").await;
    // After these the node knows all that it needs to decide at once.
    for cm_id in ["c1", "c2", "c3"] {
        ana.send(cm_id, "ben", "fine").await;
        ben.get("entry").await;
    }
    ana.send("c4", "ben", "oh darn").await;
    let shown = ben.get("entry").await;
    assert_eq!(text(shown.get("body").unwrap(), "text"), "oh ****");
    let send = |cm_id: &str, words: &str| {
        format!(
            r#"{{"t":"send","cm_id":"{cm_id}","to":{{"user":"ben"}},
                "body":{{"kind":"text","text":"{words}"}}}}"#
        )
    };
    ana.say(&send("c5", "heroin"));
    assert_eq!(text(&ana.get("err").await, "code"), "rejected");
    ana.send("c6", "ben", "casino").await;
    let shown = ben.get("entry").await;
    assert_eq!(text(shown.get("body").unwrap(), "text"), "casino");
    let waiting = act(&a, "mod", "admin.review.list", "{}").await;
    assert!(waiting.to_json().contains("casino"), "{waiting:?}");
    let mute = r#"{"user":"ana","ms":60000,"why":"loud"}"#;
    act(&a, "mod", "admin.users.mute", mute).await;
    ana.say(&send("c7", "fine"));
    assert_eq!(text(&ana.get("err").await, "code"), "muted");
    // What is stored is answered as before.
    ana.say(&send("c4", "oh darn"));
    assert!(ana.get("sent").await.get("dup").is_some());
}

#[tokio::test]
async fn nobody_waits_while_a_list_is_read() {
    let cluster = Cluster::new();
    let a = cluster.start(settings("a", NEVER)).await.unwrap();
    let b = cluster.start(settings("b", NEVER)).await.unwrap();
    act(&a, "adm", "admin.words.add", r#"{"word":"heroin"}"#).await;
    let mut n = 1_000_000;
    eventually(async || {
        n += 1;
        says(&b, n, "heroin").await == Err(ErrorCode::Rejected)
    })
    .await;
    let done = Arc::new(AtomicBool::new(false));
    let sending = tokio::spawn({
        let (b, done) = (b.clone(), Arc::clone(&done));
        async move {
            let mut sent = 0;
            while !done.load(Ordering::Acquire) {
                sent += 1;
                assert_eq!(says(&b, 2 * sent, "fine").await, Ok(()));
                // The old list is as strict as before until the new one is in force.
                let refused = says(&b, 2 * sent + 1, "heroin").await;
                assert_eq!(refused, Err(ErrorCode::Rejected));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            sent
        }
    });
    let mut listed = 1;
    for part in 0..5 {
        let lines = (0..1_000).map(|n| format!("{}{}", word(part * 1_000 + n), "\\n"));
        let params = format!(r#"{{"lines":"{}"}}"#, lines.collect::<String>());
        let report = act(&a, "adm", "admin.words.import", &params).await;
        listed += int(&report, "kept");
    }
    assert!(listed > 4_000, "some are the same in another form");
    eventually(async || {
        let tried = act(&b, "adm", "admin.words.try", r#"{"text":"x"}"#).await;
        int(&tried, "listed") == listed
    })
    .await;
    done.store(true, Ordering::Release);
    assert!(sending.await.unwrap() > 0);
}

/// Three Chinese letters, of the commonest block, another for each number.
fn word(n: u32) -> String {
    let letter = |n: u32| char::from_u32(0x4e00 + n % 2_000).unwrap();
    [letter(n), letter(n / 7 + 500), letter(n / 2_000 + 1_000)]
        .iter()
        .collect()
}
