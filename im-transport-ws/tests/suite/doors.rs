//! Whatever the door and whatever is thrown at it, the verdict is the same, and it is one.

use std::sync::Arc;

use im_core::model::Value;
use im_node::{MediaPorts, NodeBuilder};
use im_testkit::memory::MemoryBlobs;

use crate::http::ask;
use crate::kit::Kit;
use crate::peer::{Peer, int, message, text};

const OK: &str = "ok";
const LEFT: &str = "not_member";
const NONE: &str = "not_found";
const NO: &str = "forbidden";

/// What each may do: the owner, a member, one who was removed, a stranger. What is allowed changes
/// nothing, so that each can be asked by both doors.
const VERDICTS: [(&str, &str, [&str; 4]); 24] = [
    ("conv.get", "", [OK, OK, LEFT, NONE]),
    ("conv.entries", r#""after":0"#, [OK, OK, OK, NONE]),
    ("conv.entries", r#""before":9"#, [OK, OK, OK, NONE]),
    ("groups.members", "", [OK, OK, LEFT, NONE]),
    ("groups.add", r#""users":["ben"]"#, [OK, NO, LEFT, NONE]),
    ("groups.add", r#""users":["cara"]"#, [OK, NO, LEFT, NONE]),
    ("groups.add", r#""users":["dora"]"#, [OK, NO, LEFT, NONE]),
    ("groups.remove", r#""users":["ana"]"#, [NO, NO, LEFT, NONE]),
    ("groups.remove", r#""users":["eve"]"#, [OK, OK, LEFT, NONE]),
    (
        "groups.role",
        r#""user":"ben","role":"admin""#,
        [OK, NO, LEFT, NONE],
    ),
    (
        "groups.role",
        r#""user":"eve","role":"admin""#,
        [NONE, NONE, LEFT, NONE],
    ),
    (
        "groups.mute",
        r#""user":"ben","ms":0"#,
        [OK, NO, LEFT, NONE],
    ),
    (
        "groups.mute",
        r#""user":"ana","ms":9"#,
        [NO, NO, LEFT, NONE],
    ),
    ("groups.ask", "", [OK, OK, NO, NONE]),
    ("groups.ban", r#""user":"ana""#, [NO, NO, LEFT, NONE]),
    ("groups.bans", "", [OK, NO, LEFT, NONE]),
    ("groups.nick", "", [OK, OK, LEFT, NONE]),
    ("groups.requests", "", [OK, NO, LEFT, NONE]),
    ("groups.set", r#""speaks":"member""#, [OK, NO, LEFT, NONE]),
    ("groups.unban", r#""user":"eve""#, [OK, NO, LEFT, NONE]),
    ("announcements.list", "", [OK, OK, LEFT, NONE]),
    ("invites.list", "", [OK, NO, LEFT, NONE]),
    ("notify.set", "", [OK, OK, LEFT, NONE]),
    ("groups.leave", "", ["conflict", OK, LEFT, NONE]),
];

/// Names of parameters.
const PARAMS: [&str; 42] = [
    "conv",
    "user",
    "users",
    "members",
    "title",
    "hide_history",
    "role",
    "ms",
    "after",
    "before",
    "limit",
    "since",
    "to",
    "cm_id",
    "body",
    "reply_to",
    "mentions",
    "expires_ms",
    "id",
    "t",
    "size",
    "blob",
    "name",
    "mime",
    "sha256",
    "by_url",
    "about",
    "picture",
    "speaks",
    "join",
    "rights",
    "members_max",
    "listed",
    "topics",
    "open",
    "note",
    "why",
    "uses",
    "token",
    "nick",
    "q",
    "topics_off",
];

struct Doors {
    kit: Kit,
    peers: Vec<(&'static str, Peer)>,
    conv: String,
}

impl Doors {
    /// A group of ana's: ben is in it, cara was removed, dora never was there.
    async fn open() -> Self {
        let blobs = Arc::new(MemoryBlobs::new());
        let media = |builder: NodeBuilder| builder.media(MediaPorts::new(blobs));
        let kit = Kit::built(|_| {}, media).await;
        let mut peers = Vec::new();
        for user in ["ana", "ben", "cara", "dora"] {
            peers.push((user, kit.peer(user, "d").await));
        }
        let ana = &mut peers[0].1;
        let params = r#"{"title":"G","members":["ben","cara"]}"#;
        let conv = text(&ana.call("groups.create", params).await, "conv");
        let to = format!(r#"{{"conv":"{conv}"}}"#);
        ana.send("c1", &to, "secret").await;
        let params = format!(r#"{{"conv":"{conv}","users":["cara"]}}"#);
        ana.call("groups.remove", &params).await;
        Self { kit, peers, conv }
    }

    /// The code by a `req` frame, and what else was said.
    async fn by_frame(&mut self, who: usize, method: &str, params: &str) -> (String, String) {
        let peer = &mut self.peers[who].1;
        let frame = format!(r#"{{"t":"req","id":"q","method":"{method}","params":{params}}}"#);
        peer.say(&frame).await;
        loop {
            let answer = peer.next().await;
            match text(&answer, "t").as_str() {
                "res" => return (OK.to_owned(), String::new()),
                "err" => return (text(&answer, "code"), text(&answer, "message")),
                _ => {}
            }
        }
    }

    /// The same by HTTP.
    async fn by_http(
        &self,
        who: usize,
        method: &str,
        conv: &str,
        params: &str,
    ) -> (String, String) {
        let known = im_node::METHODS.iter().find(|known| known.name == method);
        let route = known.unwrap().route.unwrap();
        let verb = format!("{:?}", route.verb).to_uppercase();
        let path = route.path.replace("{conv}", conv);
        let token = self.peers[who].0;
        let (status, body) = ask(self.kit.address, &verb, &path, token, params).await;
        assert_ne!(status, 500, "{verb} {path} {params}: {body}");
        if status == 200 {
            return (OK.to_owned(), String::new());
        }
        let value = Value::from_json(&body).unwrap();
        (text(&value, "code"), text(&value, "message"))
    }
}

#[tokio::test]
async fn both_doors_give_the_same_verdict_on_every_method_and_person() {
    for (method, params, expected) in VERDICTS {
        let mut doors = Doors::open().await;
        // Strangers first, what is allowed may make one of them a member; the owner before the last
        // member, who may leave.
        for who in [3, 2, 0, 1] {
            for conv in [doors.conv.clone(), "no-such".to_owned()] {
                let comma = if params.is_empty() { "" } else { "," };
                let all = format!(r#"{{"conv":"{conv}"{comma}{params}}}"#);
                let by_http = doors.by_http(who, method, &conv, &all).await;
                let is_there = conv != "no-such";
                // What can be done once only is asked for once.
                let by_frame = if method == "groups.leave" && is_there && who == 1 {
                    by_http.clone()
                } else {
                    doors.by_frame(who, method, &all).await
                };
                let what = format!("{method} {all} of {}", doors.peers[who].0);
                assert_eq!(by_frame, by_http, "{what}");
                let code = if is_there { expected[who] } else { NONE };
                assert_eq!(by_http.0, code, "{what}");
                if by_http.0 == NONE && expected[who] == NONE && who == 3 {
                    assert_eq!(by_http.1, "no such conversation", "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_said_by_either_door_has_the_same_verdict_and_sender() {
    let mut doors = Doors::open().await;
    let conv = doors.conv.clone();
    let to = format!(r#"{{"conv":"{conv}"}}"#);
    for (who, code) in [(3, NONE), (2, LEFT), (1, OK), (0, OK)] {
        let frame = message("m1", &to, "hi").replace("{\"t\"", r#"{"from":"ana","seq":1,"t""#);
        let by_http = doors.by_http(who, "messages.send", &conv, &frame).await;
        assert_eq!(by_http.0, code);
        let peer = &mut doors.peers[who].1;
        peer.say(&message("m2", &to, "hi")).await;
        loop {
            let answer = peer.next().await;
            match text(&answer, "t").as_str() {
                "err" => {
                    let by_frame = (text(&answer, "code"), text(&answer, "message"));
                    assert_eq!(by_frame, by_http);
                    break;
                }
                "sent" => {
                    assert_eq!(by_http.0, OK);
                    break;
                }
                _ => {}
            }
        }
    }
    let path = format!("/v1/conversations/{conv}/entries?after=3");
    let (_, page) = ask(doors.kit.address, "GET", &path, "ana", "").await;
    let page = Value::from_json(&page).unwrap();
    let Some(Value::Array(entries)) = page.get("entries") else {
        panic!("{page:?}")
    };
    let from: Vec<_> = entries.iter().map(|entry| text(entry, "from")).collect();
    assert_eq!(from, ["ben", "ben", "ana", "ana"]);
    assert_eq!(int(&entries[0], "seq"), 4);
}

#[tokio::test]
async fn every_parameter_of_every_type_is_taken_or_refused_and_never_an_internal_error() {
    const VALUES: [&str; 13] = [
        "null",
        "true",
        "1",
        "-1",
        "1.5",
        "9007199254740991",
        r#""""#,
        r#""x""#,
        "[]",
        "[1]",
        r#"["x",["y"]]"#,
        "{}",
        r#"{"a":1}"#,
    ];
    let mut doors = Doors::open().await;
    let conv = doors.conv.clone();
    for method in im_node::METHODS {
        let good = [
            ("conv", format!(r#""{conv}""#)),
            ("user", r#""ben""#.to_owned()),
            ("users", r#"["ben"]"#.to_owned()),
            ("members", r#"["ben"]"#.to_owned()),
            ("title", r#""T""#.to_owned()),
            ("role", r#""member""#.to_owned()),
            ("ms", "0".to_owned()),
            ("to", r#"{"user":"ben"}"#.to_owned()),
            ("cm_id", r#""c""#.to_owned()),
            ("size", "1".to_owned()),
            ("blob", r#""b-0000000000000001""#.to_owned()),
            ("body", r#"{"kind":"text","text":"x"}"#.to_owned()),
            ("text", r#""x""#.to_owned()),
            ("id", r#""1""#.to_owned()),
        ];
        for name in PARAMS {
            for value in VALUES {
                let others = good.iter().filter(|(other, _)| *other != name);
                let others: String = others.map(|(n, v)| format!(r#","{n}":{v}"#)).collect();
                let params = format!(r#"{{"{name}":{value}{others}}}"#);
                let (code, words) = doors.by_frame(0, method.name, &params).await;
                assert_ne!(code, "internal", "{} {params}: {words}", method.name);
                if method.route.is_some() {
                    doors.by_http(0, method.name, "c", &params).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_deep_or_odd_or_over_its_bound_is_refused_by_both_doors() {
    let mut doors = Doors::open().await;
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let many = |count: usize| {
        let users: Vec<_> = (0..count).map(|n| format!(r#""u{n}""#)).collect();
        format!("[{}]", users.join(","))
    };
    for (method, params, code) in [
        (
            "groups.create",
            format!(r#"{{"title":{deep}}}"#),
            "bad_frame",
        ),
        (
            "groups.create",
            r#"{"title":"a","title":"b"}"#.to_owned(),
            "bad_frame",
        ),
        (
            "groups.create",
            r#"{"title":"\u0000","members":[]}"#.to_owned(),
            "bad_frame",
        ),
        (
            "groups.create",
            format!(r#"{{"title":"T","members":{}}}"#, many(501)),
            "too_large",
        ),
        (
            "groups.create",
            format!(r#"{{"title":"{}","members":[]}}"#, "x".repeat(201)),
            "too_large",
        ),
        (
            "messages.send",
            format!(
                r#"{{"cm_id":"c","to":{{"user":"ben"}},"body":{{"kind":"text","text":"x"}},
                    "mentions":{}}}"#,
                many(101)
            ),
            "bad_frame",
        ),
        (
            "messages.send",
            format!(
                r#"{{"cm_id":"c","to":{{"user":"ben"}},"body":{{"kind":"react","target":1,
                    "emoji":"{}"}}}}"#,
                "x".repeat(33)
            ),
            "bad_frame",
        ),
        (
            "presence.watch",
            format!(r#"{{"users":{}}}"#, many(201)),
            "too_large",
        ),
    ] {
        let (by_frame, words) = doors.by_frame(0, method, &params).await;
        assert_eq!(by_frame, code, "{method} {params:.60}: {words}");
        if method != "presence.watch" {
            let (by_http, words) = doors.by_http(0, method, "c", &params).await;
            assert_eq!(by_http, code, "{method} {params:.60}: {words}");
        }
    }
}
