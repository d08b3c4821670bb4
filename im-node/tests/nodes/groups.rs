//! What happens in a group on one node, and is seen on another.

use std::collections::VecDeque;

use im_core::model::Value;
use im_node::Node;

use super::kit::{Client, Cluster, int, text};

/// A user's device, which keeps what it heard beside what it waited for.
struct Device {
    client: Client,
    kept: VecDeque<Value>,
}

impl Device {
    async fn of(node: &Node, user: &str) -> Self {
        Self {
            client: Client::connect(node, user, "1").await,
            kept: VecDeque::new(),
        }
    }

    fn say(&mut self, frame: &str) {
        self.client.say(frame);
    }

    /// The first frame of that type that was not given yet.
    async fn get(&mut self, t: &str) -> Value {
        let kept = self.kept.iter().position(|frame| text(frame, "t") == t);
        if let Some(frame) = kept.and_then(|at| self.kept.remove(at)) {
            return frame;
        }
        loop {
            let frame = self.client.next().await;
            if text(&frame, "t") == t {
                return frame;
            }
            self.kept.push_back(frame);
        }
    }

    /// A request that must go well; gives its value.
    async fn does(&mut self, method: &str, params: &str) -> Value {
        self.say(&format!(
            r#"{{"t":"req","id":1,"method":"{method}","params":{params}}}"#
        ));
        let answer = self.get("res").await;
        answer.get("value").cloned().unwrap()
    }

    /// The next entry, as its sender and its body.
    async fn entry(&mut self) -> (String, String) {
        let entry = self.get("entry").await;
        let body = entry.get("body").unwrap().to_json();
        (text(&entry, "from"), body)
    }

    /// The next event of a kind.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            let event = self.get("event").await;
            if text(&event, "kind") == kind {
                return event;
            }
        }
    }
}

fn of(conv: &str, rest: &str) -> String {
    format!(r#"{{"conv":"{conv}"{rest}}}"#)
}

fn send(conv: &str) -> String {
    format!(
        r#"{{"t":"send","cm_id":"m-{conv}","to":{{"conv":"{conv}"}},
            "body":{{"kind":"text","text":"x"}}}}"#
    )
}

#[tokio::test]
async fn a_request_reaches_an_admin_elsewhere_and_the_answer_who_asked() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut ana = Device::of(&a, "ana").await;
    let mut cara = Device::of(&b, "cara").await;
    let made = ana
        .does("groups.create", r#"{"title":"G","members":[]}"#)
        .await;
    let g = text(&made, "conv");
    ana.does("groups.set", &of(&g, r#","join":"approval""#))
        .await;
    cara.does("groups.ask", &of(&g, r#","note":"hi""#)).await;
    let told = ana.event("join_request").await;
    assert_eq!(
        (text(&told, "op"), text(&told, "user")),
        ("ask".into(), "cara".into())
    );
    ana.does("groups.accept", &of(&g, r#","user":"cara""#))
        .await;
    let line = cara.event("conv").await;
    assert_eq!(text(line.get("line").unwrap(), "conv"), g);
    cara.say(&send(&g));
    assert!(int(&cara.get("sent").await, "seq") > 2);
}

#[tokio::test]
async fn an_end_on_one_node_holds_on_the_other_at_once() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut ana = Device::of(&a, "ana").await;
    let mut ben = Device::of(&b, "ben").await;
    let made = ana
        .does("groups.create", r#"{"title":"G","members":["ben"]}"#)
        .await;
    let g = text(&made, "conv");
    ben.entry().await;
    // The room knows that ben may speak.
    ben.say(&send(&g));
    ben.get("sent").await;
    ana.does("groups.disband", &of(&g, "")).await;
    // Whether the news came first or not.
    ben.say(&send(&g).replace("m-", "n-"));
    let refused = ben.get("err").await;
    assert_eq!(text(&refused, "code"), "forbidden");
    let log = ana.does("conv.entries", &of(&g, r#","after":0"#)).await;
    let Some(Value::Array(entries)) = log.get("entries") else {
        panic!("{log:?}")
    };
    assert_eq!(entries.len(), 3);
}

#[tokio::test]
async fn subscribers_are_pushed_no_names_of_others_on_any_node() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut ana = Device::of(&a, "ana").await;
    let mut ben = Device::of(&b, "ben").await;
    let mut cara = Device::of(&b, "cara").await;
    let made = ana
        .does("channels.create", r#"{"title":"C","open":true}"#)
        .await;
    let c = text(&made, "conv");
    ana.entry().await;
    let join = |user: &str| format!(r#"{{"kind":"member","op":"join","users":[{user}]}}"#);
    // Who comes where nobody was is told by their line, and pulls.
    ben.does("groups.join", &of(&c, "")).await;
    ben.event("conv").await;
    assert_eq!(ana.entry().await, ("ben".to_owned(), join(r#""ben""#)));
    cara.does("groups.join", &of(&c, "")).await;
    cara.event("conv").await;
    assert_eq!(ben.entry().await, (c.clone(), join("")));
    assert_eq!(ana.entry().await, ("cara".to_owned(), join(r#""cara""#)));
    cara.does("groups.leave", &of(&c, "")).await;
    let (from, body) = ben.entry().await;
    assert!(from == c && !body.contains("cara"), "{from} {body}");
    // Their own, and no other.
    loop {
        let (from, body) = cara.entry().await;
        assert!(from == "cara" && body.contains("cara") && !body.contains("ben"));
        if body.contains("leave") {
            break;
        }
    }
    assert_eq!(ana.entry().await.0, "cara");
    // What is said is the same to all.
    ana.say(&send(&c));
    ana.get("sent").await;
    assert_eq!(ben.entry().await.0, "ana");
    // Nor does a mark tell who is there.
    ben.say(&format!(r#"{{"t":"read","conv":"{c}","seq":3}}"#));
    assert!(ana.kept.iter().all(|frame| text(frame, "t") != "receipt"));
    ana.client.is_quiet("receipt").await;
}
