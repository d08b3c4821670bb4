//! The host program's own parts, when they refuse, hang, fail or panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{Body, ConversationId, Draft, UserId};
use im_core::port::{Hooks, Standing, Verdict};

use crate::kit::{Kit, user};
use crate::peer::{int, message, text};

const BEN: &str = r#"{"user":"ben"}"#;
const CARA: &str = r#"{"user":"cara"}"#;

/// Does what the text says.
#[derive(Debug, Default)]
struct Obedient {
    asked: AtomicU32,
    hangs: tokio::sync::watch::Sender<bool>,
}

#[async_trait]
impl Hooks for Obedient {
    async fn before_send(&self, _: &UserId, _: &ConversationId, draft: &Draft) -> Verdict {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match draft.body.as_text().unwrap_or_default().as_str() {
            "refuse" => Verdict::Reject("not here".to_owned()),
            "hide" => Verdict::Rewrite(Body::text("…")),
            "panic" => panic!("a bug of the host program's"),
            "hang" => {
                let mut hangs = self.hangs.subscribe();
                let _ = hangs.wait_for(|hangs| !hangs).await;
                Verdict::Accept
            }
            _ => Verdict::Accept,
        }
    }
}

async fn start() -> (Kit, Arc<Obedient>) {
    let hooks = Arc::new(Obedient::default());
    let given = Arc::clone(&hooks) as _;
    let kit = Kit::built(
        |settings| settings.hook_deadline = Duration::from_millis(300),
        |builder| builder.hooks(given),
    )
    .await;
    (kit, hooks)
}

#[tokio::test]
async fn a_hook_refuses_and_rewrites_and_is_not_asked_about_a_retry() {
    let (kit, hooks) = start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    ana.say(&message("c1", BEN, "refuse")).await;
    let err = ana.get("err").await;
    assert_eq!(
        (text(&err, "code"), text(&err, "message")),
        ("rejected".into(), "not here".into())
    );
    assert!(err.get("retry_after_ms").is_none());
    // Its cm_id is free again.
    ana.send("c1", BEN, "hide").await;
    let entry = ben.get("entry").await;
    assert_eq!(text(entry.get("body").unwrap(), "text"), "…");
    let asked = hooks.asked.load(Ordering::Relaxed);
    assert!(ana.send("c1", BEN, "hide").await.get("dup").is_some());
    assert_eq!(hooks.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test]
async fn a_hook_that_hangs_is_unavailable_and_the_retry_is_stored_once() {
    let (kit, hooks) = start().await;
    hooks.hangs.send_replace(true);
    let mut ana = kit.peer("ana", "d").await;
    let mut dora = kit.peer("dora", "d").await;
    ana.say(&message("c1", BEN, "hang")).await;
    // Others, and what is said elsewhere, don't wait for it.
    assert_eq!(int(&dora.send("c1", CARA, "x").await, "seq"), 1);
    let err = ana.get("err").await;
    assert_eq!(text(&err, "code"), "unavailable");
    assert!(int(&err, "retry_after_ms") > 0);
    hooks.hangs.send_replace(false);
    let sent = ana.send("c1", BEN, "hang").await;
    assert_eq!((int(&sent, "seq"), sent.get("dup")), (1, None));
}

#[tokio::test]
async fn a_hook_that_panics_refuses_that_message_and_nothing_else() {
    let (kit, _) = start().await;
    let mut ana = kit.peer("ana", "d").await;
    ana.say(&message("c1", BEN, "panic")).await;
    ana.say(&message("c2", BEN, "x")).await;
    let err = ana.get("err").await;
    assert_eq!(
        (text(&err, "code"), text(&err, "cm_id")),
        ("internal".into(), "c1".into())
    );
    assert_eq!(text(&ana.get("sent").await, "cm_id"), "c2");
}

#[tokio::test]
async fn an_unknown_user_is_not_found_whatever_is_asked_of_them() {
    let kit = Kit::start().await;
    kit.directory.set(&user("nobody"), Standing::Unknown);
    let mut ana = kit.peer("ana", "d").await;
    ana.say(&message("c1", r#"{"user":"nobody"}"#, "x")).await;
    assert_eq!(ana.refused().await, "not_found");
    for (method, params) in [
        (
            "groups.create",
            r#"{"title":"G","members":["ben","nobody"]}"#,
        ),
        ("presence.watch", r#"{"users":["nobody"]}"#),
    ] {
        ana.say(&format!(
            r#"{{"t":"req","id":1,"method":"{method}","params":{params}}}"#
        ))
        .await;
        if method == "presence.watch" {
            // As of everybody whom one does not know.
            let users = ana.get("res").await;
            assert_eq!(users.get("value").unwrap().to_json(), r#"{"users":[]}"#);
        } else {
            assert_eq!(ana.refused().await, "not_found");
        }
    }
}
