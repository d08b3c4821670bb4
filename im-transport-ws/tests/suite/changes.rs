//! Edits, recalls, reactions and pins: whose, of what, by whom.

use crate::kit::Kit;
use crate::peer::{Peer, int, text};

/// Sends a change; `ok` or the code of the refusal.
async fn change(peer: &mut Peer, conv: &str, n: &mut u32, body: &str) -> String {
    *n += 1;
    let cm_id = format!("x{n}");
    let to = format!(r#"{{"conv":"{conv}"}}"#);
    let frame = format!(r#"{{"t":"send","cm_id":"{cm_id}","to":{to},"body":{body}}}"#);
    peer.say(&frame).await;
    loop {
        let answer = peer.next().await;
        if text(&answer, "cm_id") != cm_id {
            continue;
        }
        match text(&answer, "t").as_str() {
            "sent" => return "ok".to_owned(),
            "err" => return text(&answer, "code"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_change_is_its_authors_or_of_those_above_and_names_what_was_said_here() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    let mut cara = kit.peer("cara", "d").await;
    let mut dora = kit.peer("dora", "d").await;
    let params = r#"{"title":"G","members":["ben","cara"]}"#;
    let conv = text(&ana.call("groups.create", params).await, "conv");
    let admin = format!(r#"{{"conv":"{conv}","user":"ben","role":"admin"}}"#);
    ana.call("groups.role", &admin).await;
    let to = format!(r#"{{"conv":"{conv}"}}"#);
    let of_ana = int(&ana.send("c", &to, "ana's").await, "seq");
    let of_ben = int(&ben.send("c", &to, "ben's").await, "seq");
    let of_cara = int(&cara.send("c", &to, "cara's").await, "seq");
    let edit = |seq: i64| format!(r#"{{"kind":"edit","target":{seq},"text":"new"}}"#);
    let recall = |seq: i64| format!(r#"{{"kind":"recall","target":{seq}}}"#);
    let react = |seq: i64| format!(r#"{{"kind":"react","target":{seq},"emoji":"+"}}"#);
    let pin = |seq: i64| format!(r#"{{"kind":"pin","target":{seq}}}"#);
    let n = &mut 0;
    for (seq, [by_ana, by_ben, by_cara]) in [
        (of_ana, ["ok", "forbidden", "forbidden"]),
        (of_ben, ["forbidden", "ok", "forbidden"]),
        (of_cara, ["forbidden", "forbidden", "ok"]),
    ] {
        assert_eq!(change(&mut ana, &conv, n, &edit(seq)).await, by_ana);
        assert_eq!(change(&mut ben, &conv, n, &edit(seq)).await, by_ben);
        assert_eq!(change(&mut cara, &conv, n, &edit(seq)).await, by_cara);
    }
    for seq in [of_ana, of_ben, of_cara] {
        assert_eq!(change(&mut cara, &conv, n, &react(seq)).await, "ok");
    }
    assert_eq!(change(&mut cara, &conv, n, &pin(of_ana)).await, "forbidden");
    assert_eq!(change(&mut ben, &conv, n, &pin(of_ana)).await, "ok");
    // Of what was not said here: the group's beginning, a change, nothing, elsewhere.
    for target in [1, of_cara + 1, 9_999, 0] {
        let code = change(&mut ana, &conv, n, &react(target)).await;
        let expected = if target == 0 {
            "bad_frame"
        } else {
            "not_found"
        };
        assert_eq!(code, expected, "{target}");
    }
    // And by those who may not speak.
    assert_eq!(
        change(&mut dora, &conv, n, &react(of_ana)).await,
        "not_found"
    );
    let mute = format!(r#"{{"conv":"{conv}","user":"cara","ms":60000}}"#);
    ana.call("groups.mute", &mute).await;
    for body in [edit(of_cara), recall(of_cara), react(of_ana)] {
        assert_eq!(change(&mut cara, &conv, n, &body).await, "muted");
    }
    let remove = format!(r#"{{"conv":"{conv}","users":["cara"]}}"#);
    ana.call("groups.remove", &remove).await;
    for body in [edit(of_cara), recall(of_cara), react(of_ana)] {
        assert_eq!(change(&mut cara, &conv, n, &body).await, "not_member");
    }
}

/// What is recalled is there no more, for whoever comes next.
#[tokio::test]
async fn a_message_is_taken_back_by_its_author_or_from_above_once() {
    let kit = Kit::start().await;
    let mut peers = Vec::new();
    for user in ["ana", "ben", "cara"] {
        peers.push(kit.peer(user, "d").await);
    }
    let params = r#"{"title":"G","members":["ben","cara"]}"#;
    let conv = text(&peers[0].call("groups.create", params).await, "conv");
    let admin = format!(r#"{{"conv":"{conv}","user":"ben","role":"admin"}}"#);
    peers[0].call("groups.role", &admin).await;
    let to = format!(r#"{{"conv":"{conv}"}}"#);
    let n = &mut 0;
    let mut m = 0;
    for (author, [by_ana, by_ben, by_cara]) in [
        (0, ["ok", "forbidden", "forbidden"]),
        (1, ["ok", "ok", "forbidden"]),
        (2, ["ok", "ok", "ok"]),
    ] {
        for (by, expected) in [(0, by_ana), (1, by_ben), (2, by_cara)] {
            m += 1;
            let sent = peers[author]
                .send(&format!("r{m}"), &to, "taken back")
                .await;
            let target = int(&sent, "seq");
            let recall = format!(r#"{{"kind":"recall","target":{target}}}"#);
            let react = format!(r#"{{"kind":"react","target":{target},"emoji":"+"}}"#);
            let answer = change(&mut peers[by], &conv, n, &recall).await;
            assert_eq!(answer, expected, "{author} {by}");
            let again = if expected == "ok" { "not_found" } else { "ok" };
            assert_eq!(change(&mut peers[author], &conv, n, &recall).await, again);
            assert_eq!(change(&mut peers[2], &conv, n, &react).await, "not_found");
        }
    }
}

#[tokio::test]
async fn who_sees_no_history_changes_none_of_it() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    let params = r#"{"title":"G","members":[],"hide_history":true}"#;
    let conv = text(&ana.call("groups.create", params).await, "conv");
    let to = format!(r#"{{"conv":"{conv}"}}"#);
    let seq = int(&ana.send("c", &to, "before").await, "seq");
    let add = format!(r#"{{"conv":"{conv}","users":["ben"]}}"#);
    ana.call("groups.add", &add).await;
    let react = format!(r#"{{"kind":"react","target":{seq},"emoji":"+"}}"#);
    assert_eq!(change(&mut ben, &conv, &mut 0, &react).await, "not_found");
    let pull = format!(r#"{{"t":"pull","id":1,"conv":"{conv}","after":0}}"#);
    ben.say(&pull).await;
    assert_eq!(int(&ben.get("page").await, "first_seq"), seq + 1);
}
