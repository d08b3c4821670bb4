//! A log that a hot tier holds: who may write, and entries that got their places before.

use im_core::model::{Epoch, Holder, NewEntry, Seq};
use im_core::port::{Commit, Hold, LogQuery, MemberOp, PortErrorKind, Rejected, Run, Write};

use super::kit::*;

fn held(id: &str, from: u64, to: u64) -> Change {
    Change::to(id).write(Write::Hold(Hold {
        from: Holder(from),
        to: Holder(to),
        head: None,
        lost: false,
    }))
}

fn run(first: u64, entries: &[NewEntry]) -> Write {
    Write::Place(Run {
        first: Seq(first),
        entries: entries.to_vec(),
    })
}

fn entries(count: usize) -> Vec<NewEntry> {
    (1..=count).map(|n| said("al", &n.to_string())).collect()
}

async fn assert_fenced(store: &Shared, change: Change) {
    let answer = change.on(store).await;
    assert!(
        matches!(&answer, Err(Rejected::Store(error)) if error.kind() == PortErrorKind::Fenced),
        "expected a fence, got {answer:?}"
    );
}

/// While somebody holds a log, only they change it; what changes no log goes through.
pub async fn only_its_holder_changes_a_log(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let retried = sent("al", "m", "1");
    Change::to("g").append(retried.clone()).done(&store).await;
    assert_eq!(conversation(&store, "g").await.holder, Holder(0));
    let most = (1 << 63) - 1;
    held("g", 0, most).done(&store).await;
    assert_eq!(conversation(&store, "g").await.holder, Holder(most));
    for change in [
        Change::to("g").say("al", "no"),
        Change::to("g").title("no").tell("no"),
        Change::to("g").member("bo", MemberOp::Remove).tell("no"),
        Change::to("g").write(run(2, &entries(1))),
        held("g", 0, 5),
        held("g", 5, 5).write(run(2, &entries(1))),
    ] {
        assert_fenced(&store, change).await;
    }
    let free = Change::to("g").create(&["cy"]).read("bo", 1);
    let free = free.block("al", "bo", true);
    assert!(!free.done(&store).await.created);
    assert_eq!(member(&store, "g", "bo").await.read, Seq(1));
    let retry = Change::to("g").append(retried).done(&store).await;
    assert!(retry.appended[0].dup);
    held("g", most, 0).say("al", "2").done(&store).await;
    say(&store, "g", "al", "3").await;
    assert_eq!(texts(&store, "g").await, ["1", "2", "3"]);
    assert_eq!(names(&store, "g").await, ["al", "bo"]);
}

/// A log is taken as it was seen, or not at all.
pub async fn a_log_is_taken_as_it_was_seen(store: Shared) {
    group(&store, "g", &["al"]).await;
    say(&store, "g", "al", "1").await;
    let take = |head| {
        Change::to("g").write(Write::Hold(Hold {
            from: Holder(0),
            to: Holder(1),
            head: Some(Seq(head)),
            lost: false,
        }))
    };
    for wrong in [0, 2] {
        assert_rejected!(take(wrong).on(&store).await, Rejected::Conflict);
    }
    take(1).done(&store).await;
    let nowhere = held("nowhere", 0, 1);
    assert_rejected!(nowhere.on(&store).await, Rejected::NotFound);
}

/// A run stands at its places, whole, and writing it again writes nothing.
pub async fn a_run_stands_at_its_places_once(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    say(&store, "g", "bo", "0").await;
    held("g", 0, 7).done(&store).await;
    let all = entries(6);
    let place = |first: u64, to: usize| {
        let some = &all[first as usize - 2..to - 2];
        held("g", 7, 7)
            .write(run(first, some))
            .read("bo", to as u64)
    };
    let done = place(2, 4).done(&store).await;
    let places: Vec<_> = done.appended.iter().map(|it| (it.seq.0, it.dup)).collect();
    assert_eq!(places, [(2, false), (3, false)]);
    assert_eq!(member(&store, "g", "bo").await.read, Seq(3));
    let since = now(&store).await;
    let again = place(2, 4).done(&store).await;
    assert!(again.appended.iter().all(|it| it.dup));
    assert!(store.changed(&since, ALL).await.unwrap().convs.is_empty());
    // Half of it new; the dedupe keys come with it.
    let more = place(3, 6).done(&store).await;
    let places: Vec<_> = more.appended.iter().map(|it| (it.seq.0, it.dup)).collect();
    assert_eq!(places, [(3, true), (4, false), (5, false)]);
    assert_eq!(store.changed(&since, ALL).await.unwrap().convs.len(), 1);
    let retry = Change::to("g").append(all[3].clone()).done(&store).await;
    assert_eq!(
        (retry.appended[0].seq, retry.appended[0].dup),
        (Seq(5), true)
    );
    assert_eq!(texts(&store, "g").await, ["0", "1", "2", "3", "4"]);
    assert_eq!(line(&store, "bo", "g").await.conversation.head, Seq(5));
}

/// A gap before a run, or something else at one of its places, is a conflict, and nothing of it is
/// written.
pub async fn a_run_that_does_not_fit_is_a_conflict(store: Shared) {
    group(&store, "g", &["al"]).await;
    say(&store, "g", "al", "1").await;
    say(&store, "g", "al", "2").await;
    held("g", 0, 7).done(&store).await;
    let log = log(&store, "g").await;
    let (first, other) = (log[0].new.clone(), said("al", "other"));
    for write in [
        run(0, &entries(1)),
        run(4, &entries(1)),
        run(2, &entries(2)),
        run(1, &[first.clone(), other.clone(), other.clone()]),
    ] {
        let change = held("g", 7, 0).write(write);
        assert_rejected!(change.on(&store).await, Rejected::Conflict);
    }
    assert_eq!(conversation(&store, "g").await.holder, Holder(7));
    assert_eq!(texts(&store, "g").await, ["1", "2"]);
    let batch: Vec<Commit> = [(2, 3), (4, 5), (5, 6)]
        .map(|(first, n)| held("g", 7, 7).write(run(first, &[said("al", &n.to_string())])))
        .map(Change::commit)
        .to_vec();
    let answers = store.commit(&batch).await;
    assert_rejected!(&answers[0], Rejected::Conflict);
    assert_rejected!(&answers[1], Rejected::Conflict);
    assert_rejected!(&answers[2], Rejected::Conflict);
    held("g", 7, 7).write(run(3, &[other])).done(&store).await;
}

/// A log of which something is lost begins another epoch, which every list shows.
pub async fn a_lost_tail_begins_another_epoch(store: Shared) {
    group(&store, "g", &["al"]).await;
    held("g", 0, 7).done(&store).await;
    let before = conversation(&store, "g").await;
    let since = now(&store).await;
    let lost = Hold {
        from: Holder(7),
        to: Holder(8),
        head: None,
        lost: true,
    };
    let change = Change::to("g").write(Write::Hold(lost));
    change.done(&store).await;
    let after = conversation(&store, "g").await;
    assert_eq!(after.epoch, Epoch(before.epoch.0 + 1));
    let changed = store.changed(&since, ALL).await.unwrap().convs;
    let epochs: Vec<_> = changed.iter().map(|it| it.epoch).collect();
    assert_eq!(epochs, [after.epoch]);
    assert_eq!(
        list(&store, "al", &since).await.lines[0].conversation,
        after
    );
    assert_fenced(&store, held("g", 7, 7).write(run(1, &entries(1)))).await;
    held("g", 8, 0).done(&store).await;
    assert_eq!(say(&store, "g", "al", "1").await.seq, Seq(1));
}

/// The largest id of a sender is found, byte by byte.
pub async fn the_largest_id_of_a_sender_is_found(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let newest = async |who: &str| {
        let sender = user(who);
        let found = read(&store, "g", LogQuery::Newest { sender }).await;
        found
            .first()
            .map(|it| (it.seq, it.cm_id.clone().unwrap().to_string()))
    };
    assert_eq!(newest("al").await, None);
    for (who, id) in [
        ("al", "b"),
        ("bo", "z"),
        ("al", "a"),
        ("al", "B"),
        ("al", "ba"),
    ] {
        let change = Change::to("g").append(sent(who, id, id)).tell("x");
        change.done(&store).await;
    }
    assert_eq!(newest("al").await, Some((Seq(9), "ba".to_owned())));
    assert_eq!(newest("bo").await, Some((Seq(3), "z".to_owned())));
    assert_eq!(newest("cy").await, None);
}
