//! Entries: their places, and that what was written is what is read.

use im_core::model::{Body, CmId, ConversationId, Kind, Mentions, MessageId, NewEntry};
use im_core::model::{Seq, Stamps, Timestamp, UserId, Value};
use im_core::port::{MemberOp, Rejected};

use super::kit::*;

/// An entry is appended at head + 1, and the log has no gap.
pub async fn entries_stand_from_one_without_a_gap(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    assert_eq!(conversation(&store, "g").await.head, Seq(0));
    for n in 1..=5 {
        let text = n.to_string();
        assert_eq!(say(&store, "g", "al", &text).await.seq, Seq(n));
        assert_eq!(conversation(&store, "g").await.head, Seq(n));
    }
    assert_eq!(seqs(&log(&store, "g").await), [1, 2, 3, 4, 5]);
    assert_eq!(texts(&store, "g").await, ["1", "2", "3", "4", "5"]);
}

/// A commit's entries stand behind one another in the order of its writes.
pub async fn entries_of_one_commit_stand_in_the_order_of_its_writes(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    say(&store, "g", "al", "before").await;
    let commit = Change::to("g").say("al", "x").say("bo", "y").say("al", "z");
    let done = commit.done(&store).await;
    let places: Vec<_> = done.appended.iter().map(|it| it.seq.0).collect();
    assert_eq!(places, [2, 3, 4]);
    assert_eq!(texts(&store, "g").await, ["before", "x", "y", "z"]);
}

/// The answer names the entry's own id and time.
pub async fn the_answer_carries_the_id_and_time_of_the_entry(store: Shared) {
    group(&store, "g", &["al"]).await;
    let entry = said("al", "hi");
    let done = Change::to("g").append(entry.clone()).done(&store).await;
    assert_eq!(done.appended.len(), 1);
    let it = done.appended[0];
    assert_eq!((it.id, it.at, it.dup), (entry.id, entry.at, false));
}

/// Logs of different conversations count by themselves.
pub async fn conversations_count_by_themselves(store: Shared) {
    group(&store, "g", &["al"]).await;
    group(&store, "h", &["al"]).await;
    for (id, expected) in [("g", 1), ("h", 1), ("g", 2), ("g", 3), ("h", 2)] {
        assert_eq!(say(&store, id, "al", "x").await.seq, Seq(expected));
    }
}

fn odd_entries() -> Vec<NewEntry> {
    let plain = || told("al", Body::text("x"));
    let numbers = vec![Value::Null, Value::Bool(true), Value::Float(-0.5)];
    let odd = "'; DROP TABLE entries; -- \\ \" \u{2028} \u{feff} é e\u{301} 👩‍👩‍👧 \r\n\t\u{1}%_";
    let data = Value::object([
        ("deep", Value::Array(numbers)),
        ("int", Value::Int((1 << 53) - 1)),
        ("", Value::from(odd)),
    ]);
    let mut all = vec![plain(); 9];
    (all[1].id, all[1].digest, all[1].cm_id) = (MessageId(u64::MAX), u64::MAX, Some(cm("m")));
    (all[2].id, all[2].digest, all[2].cm_id) = (MessageId(1 << 63), 1 << 63, Some(cm("n")));
    all[3].at = Timestamp(-1);
    all[4].reply_to = Some(Seq(1));
    all[5].expires_at = Some(NEVER);
    all[6].mentions = Mentions::All;
    all[7].mentions = Mentions::Users(users(&LOOK_ALIKES));
    all[8].body = Body::of(Kind::Custom, [("type", "t".into()), ("data", data)]);
    all.push(told("al", Body::text("")));
    all
}

/// Every field of an entry is read as it was written.
pub async fn an_entry_is_read_as_it_was_written(store: Shared) {
    group(&store, "g", &["al"]).await;
    let written = odd_entries();
    for entry in &written {
        Change::to("g").append(entry.clone()).done(&store).await;
    }
    let read = log(&store, "g").await;
    assert_eq!(read.len(), written.len());
    for (read, written) in read.iter().zip(&written) {
        assert_eq!(read.conv, conv("g"));
        assert_eq!(&read.new, written);
    }
}

/// Every kind of body is read with its kind.
pub async fn every_kind_of_body_is_kept(store: Shared) {
    group(&store, "g", &["al"]).await;
    let mut commit = Change::to("g");
    for kind in Kind::ALL {
        commit = commit.append(told("al", Body::of(*kind, [])));
    }
    commit.done(&store).await;
    let read = log(&store, "g").await;
    let kinds: Vec<_> = read.iter().map(|entry| entry.body.kind()).collect();
    assert_eq!(kinds, Kind::ALL);
}

/// A body as large as a node ever takes is kept whole.
pub async fn a_big_body_is_kept_whole(store: Shared) {
    group(&store, "g", &["al"]).await;
    let big = [
        "x".repeat(60_000),
        "𝄞".repeat(16_000),
        "\\\"".repeat(64 << 10),
    ];
    for text in big {
        say(&store, "g", "al", &text).await;
        let read = log(&store, "g").await;
        assert!(read.last().map(text_of) == Some(text));
    }
}

/// Ids as long as they may be, in the widest characters, are told apart by their last one.
pub async fn ids_of_full_length_are_kept_apart(store: Shared) {
    let long = |last: &str, chars: usize| "𝄞".repeat(chars - 1) + last;
    for last in ["a", "b"] {
        let who = long(last, UserId::CHARS_MAX);
        let id = long(last, ConversationId::CHARS_MAX);
        group(&store, &id, &[&who]).await;
        for end in ["a", "b"] {
            let entry = sent(&who, &long(end, CmId::CHARS_MAX), end);
            let done = Change::to(&id).append(entry).done(&store).await;
            assert!(!done.appended[0].dup);
        }
        assert_eq!(names(&store, &id).await, [who.as_str()]);
        assert_eq!(texts(&store, &id).await, ["a", "b"]);
        let key = answer(&who, &"𝄞".repeat(64));
        Change::to(&id).record(&key, last, NEVER).done(&store).await;
        Change::of_block(&who, &id, true).done(&store).await;
        assert_eq!(recorded(&store, &key, AT).await.as_deref(), Some(last));
    }
}

/// A commit happens as a whole: refused for its last write, it has written nothing of the others.
pub async fn a_refused_commit_has_written_nothing(store: Shared) {
    // Theirs, as the block is one of its writes.
    let g = direct("al", "bo");
    let g = g.as_str();
    group(&store, g, &["al", "bo"]).await;
    say(&store, g, "al", "first").await;
    let (key, free) = (answer("al", "k"), answer("al", "free"));
    Change::to(g).record(&key, "1", NEVER).done(&store).await;
    let before = conversation(&store, g).await;
    let since = list(&store, "al", &Stamps::START).await.stamps;
    let commit = Change::to(g)
        .say("al", "second")
        .title("other")
        .member("bo", MemberOp::Remove)
        .read("al", 1)
        .block("al", "bo", true)
        .record(&free, "1", NEVER)
        .record(&key, "2", NEVER);
    assert_rejected!(commit.on(&store).await, Rejected::Done(_));
    assert_eq!(conversation(&store, g).await, before);
    assert_eq!(texts(&store, g).await, ["first"]);
    assert_eq!(names(&store, g).await, ["al", "bo"]);
    assert_eq!(member(&store, g, "al").await.read, Seq(0));
    assert_eq!(recorded(&store, &free, AT).await, None);
    assert_eq!(recorded(&store, &block("al", "bo"), AT).await, None);
    assert!(list(&store, "al", &since).await.lines.is_empty());
}

/// A write to a conversation that does not exist is refused and makes nothing.
pub async fn a_conversation_that_is_not_there_is_not_found(store: Shared) {
    let commits = [
        Change::to("g").say("al", "hi"),
        Change::to("g").say("al", "hi").title("t"),
        Change::to("g")
            .say("al", "hi")
            .member("al", MemberOp::Remove),
        Change::to("g").say("al", "hi").expect(Seq(0)),
        Change::to("g").say("al", "hi").expect(Seq(0)).actor("al"),
    ];
    for commit in commits {
        assert_rejected!(commit.on(&store).await, Rejected::NotFound);
    }
    assert!(!exists(&store, "g").await);
    assert!(log(&store, "g").await.is_empty());
    assert!(names(&store, "g").await.is_empty());
}
