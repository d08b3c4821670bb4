//! `cm_id`: a retry is harmless.

use im_core::model::{Seq, Stamps};
use im_core::port::{Appended, LogQuery, MemberOp, Rejected};

use super::kit::*;

/// A retry gets the first try's place, id and time, is marked, and writes nothing.
pub async fn a_retry_gets_the_first_answer(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let send = || Change::to("g").append(sent("al", "m", "hi"));
    let first = send().done(&store).await.appended[0];
    say(&store, "g", "bo", "between").await;
    // With another id and time: the node makes new ones for each try.
    let again = send().done(&store).await;
    assert_eq!(again.appended.len(), 1);
    let again = again.appended[0];
    assert!(again.dup);
    assert_eq!(
        (again.seq, again.id, again.at),
        (first.seq, first.id, first.at)
    );
    assert_eq!(texts(&store, "g").await, ["hi", "between"]);
}

/// A duplicate is the whole commit: its other writes don't happen, no list changes.
pub async fn a_duplicate_writes_nothing_else(store: Shared) {
    // Theirs, as the block is one of its writes.
    let g = direct("al", "bo");
    let g = g.as_str();
    group(&store, g, &["al", "bo"]).await;
    let send = || Change::to(g).append(sent("al", "m", "hi"));
    send().done(&store).await;
    let before = conversation(&store, g).await;
    let since = list(&store, "al", &Stamps::START).await.stamps;
    let key = answer("al", "k");
    let commit = send()
        .title("other")
        .member("bo", MemberOp::Remove)
        .read("al", 1)
        .block("al", "bo", true)
        .record(&key, "1", NEVER);
    let done = commit.done(&store).await;
    assert!(done.appended[0].dup && !done.created);
    assert_eq!(done.version, before.version);
    assert_eq!(conversation(&store, g).await, before);
    assert_eq!(names(&store, g).await, ["al", "bo"]);
    assert_eq!(member(&store, g, "al").await.read, Seq(0));
    assert_eq!(recorded(&store, &key, AT).await, None);
    assert_eq!(recorded(&store, &block("al", "bo"), AT).await, None);
    assert!(list(&store, "al", &since).await.lines.is_empty());
}

/// Another message under the same `cm_id` is refused, and the first stays.
pub async fn another_message_under_the_same_id_is_refused(store: Shared) {
    group(&store, "g", &["al"]).await;
    let send = |text| Change::to("g").append(sent("al", "m", text));
    send("hi").done(&store).await;
    assert_rejected!(send("ho").on(&store).await, Rejected::CmIdReused);
    assert_eq!(texts(&store, "g").await, ["hi"]);
    assert!(send("hi").done(&store).await.appended[0].dup);
}

/// A commit of several entries was atomic, so its retry finds all of them. One of which only a part
/// is stored is another commit under a used id: it is refused, and writes nothing.
pub async fn a_commit_of_which_only_a_part_is_stored_is_refused(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let both = || {
        let one = Change::to("g").append(sent("al", "1", "one"));
        one.tell("between").append(sent("bo", "2", "two"))
    };
    let first = both().done(&store).await.appended;
    let again = both().done(&store).await.appended;
    let places = |all: &[Appended]| all.iter().map(|it| (it.seq, it.id)).collect::<Vec<_>>();
    // What has no cm_id is not found again.
    assert_eq!(places(&again), places(&[first[0], first[2]]));
    assert!(again.iter().all(|it| it.dup));
    for mixed in [
        Change::to("g")
            .append(sent("al", "1", "one"))
            .append(sent("al", "3", "new")),
        Change::to("g")
            .append(sent("al", "3", "new"))
            .append(sent("bo", "2", "two")),
        both().append(sent("al", "3", "new")),
    ] {
        let mixed = mixed.title("other").read("al", 1);
        assert_rejected!(mixed.on(&store).await, Rejected::CmIdReused);
    }
    assert_eq!(texts(&store, "g").await, ["one", "between", "two"]);
    let title = conversation(&store, "g").await.title;
    assert_eq!(title.as_deref(), Some("A group"));
    // What was new in them is free.
    let free = Change::to("g").append(sent("al", "3", "new"));
    assert!(!free.done(&store).await.appended[0].dup);
}

/// A retry is known before the version is looked at: it was decided on an older view.
pub async fn a_retry_wins_over_a_conflict(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let version = conversation(&store, "g").await.version;
    let send = |text| {
        Change::to("g")
            .append(sent("al", "m", text))
            .expect(version)
    };
    let first = send("hi").done(&store).await.appended[0];
    remove(&store, "g", "al").await;
    for retry in [send("hi"), send("hi").actor("al")] {
        let again = retry.done(&store).await.appended[0];
        assert_eq!((again.seq, again.dup), (first.seq, true));
    }
    for other in [send("ho"), send("ho").actor("al")] {
        assert_rejected!(other.on(&store).await, Rejected::CmIdReused);
    }
}

/// The key is (conversation, sender, `cm_id`): the same `cm_id` of another sender, or in another
/// conversation, is another message.
pub async fn a_cm_id_is_its_senders_and_its_conversations_own(store: Shared) {
    for id in ["g", "h"] {
        group(&store, id, &["al", "bo"]).await;
        for from in ["al", "bo"] {
            let entry = sent(from, "m", &format!("{id} {from}"));
            let done = Change::to(id).append(entry).done(&store).await;
            assert!(!done.appended[0].dup);
        }
    }
    assert_eq!(texts(&store, "g").await, ["g al", "g bo"]);
    assert_eq!(texts(&store, "h").await, ["h al", "h bo"]);
}

/// Conversations, senders and `cm_id`s are compared byte by byte: what only looks alike is
/// another, and no message is taken for a retry of it.
pub async fn ids_that_look_alike_are_different_messages(store: Shared) {
    let entries = |id: &str| {
        let pairs = LOOK_ALIKES
            .iter()
            .flat_map(|a| LOOK_ALIKES.iter().map(move |b| (a, b)));
        let entries = pairs.map(|(from, cm_id)| sent(from, cm_id, &format!("{id}|{from}|{cm_id}")));
        entries.collect::<Vec<_>>()
    };
    for id in LOOK_ALIKES {
        group(&store, id, &LOOK_ALIKES).await;
        let commit = entries(id).into_iter().fold(Change::to(id), Change::append);
        let done = commit.done(&store).await;
        assert!(done.appended.iter().all(|it| !it.dup), "{id:?}");
    }
    for id in LOOK_ALIKES {
        let read = log(&store, id).await;
        let again = entries(id);
        assert_eq!(read.len(), again.len());
        for (first, again) in read.iter().zip(again) {
            assert_eq!(first.body, again.body);
            let done = Change::to(id).append(again).done(&store).await.appended[0];
            assert_eq!((done.seq, done.id, done.dup), (first.seq, first.id, true));
        }
    }
}

/// A `cm_id` whose send was refused is free again, for another message too.
pub async fn a_refused_send_leaves_its_id_free(store: Shared) {
    group(&store, "g", &["al"]).await;
    let late = Change::to("g").append(sent("al", "m", "hi")).expect(Seq(7));
    assert_rejected!(late.on(&store).await, Rejected::Conflict);
    let missing = Change::to("h").append(sent("al", "m", "hi"));
    assert_rejected!(missing.on(&store).await, Rejected::NotFound);
    let other = Change::to("g").append(sent("al", "m", "other"));
    assert!(!other.done(&store).await.appended[0].dup);
    assert_eq!(texts(&store, "g").await, ["other"]);
}

/// What the server writes has no `cm_id` and is never a duplicate.
pub async fn entries_without_a_cm_id_are_never_duplicates(store: Shared) {
    group(&store, "g", &["al"]).await;
    for n in 1..=3 {
        let done = Change::to("g").tell("same").done(&store).await.appended[0];
        assert_eq!((done.seq, done.dup), (Seq(n), false));
    }
}

/// The second of two equal commits in one batch is a duplicate of the first, and another message
/// under the id is refused.
pub async fn a_duplicate_within_one_batch_is_one(store: Shared) {
    group(&store, "g", &["al"]).await;
    let send = |cm_id, text| Change::to("g").append(sent("al", cm_id, text)).commit();
    let batch = [
        send("m", "hi"),
        send("m", "hi"),
        send("n", "next"),
        send("m", "ho"),
        send("m", "hi"),
    ];
    let answers = store.commit(&batch).await;
    assert_eq!(answers.len(), batch.len());
    assert_rejected!(&answers[3], Rejected::CmIdReused);
    let place = |at: usize| answers[at].as_ref().unwrap().appended[0];
    for (at, seq, dup) in [(0, 1, false), (1, 1, true), (2, 2, false), (4, 1, true)] {
        assert_eq!((place(at).seq, place(at).dup), (Seq(seq), dup));
    }
    assert_eq!((place(1).id, place(4).at), (place(0).id, place(0).at));
    assert_eq!(texts(&store, "g").await, ["hi", "next"]);
}

/// The entry under a `cm_id` can be asked for, by exactly its sender and id.
pub async fn what_was_sent_under_an_id_is_found(store: Shared) {
    group(&store, "g", &LOOK_ALIKES).await;
    let query = |from: &str, cm_id: &str| LogQuery::Sent {
        sender: user(from),
        cm_id: cm(cm_id),
    };
    assert!(read(&store, "g", query("a", "a")).await.is_empty());
    let entry = sent("a", "a", "hi");
    let commit = Change::to("g").say("A", "before").append(entry.clone());
    commit.done(&store).await;
    let found = read(&store, "g", query("a", "a")).await;
    assert_eq!(seqs(&found), [2]);
    assert_eq!(found[0].new, entry);
    for other in &LOOK_ALIKES[1..] {
        assert!(
            read(&store, "g", query(other, "a")).await.is_empty(),
            "{other:?}"
        );
        assert!(
            read(&store, "g", query("a", other)).await.is_empty(),
            "{other:?}"
        );
    }
    assert!(read(&store, "nowhere", query("a", "a")).await.is_empty());
}
