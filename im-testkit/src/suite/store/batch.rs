//! Batches: each commit by itself, in order.

use im_core::model::{MessageId, Seq};
use im_core::port::{Commit, FirstSeq, MemberOp, Rejected, Write};

use super::kit::*;

/// How many commits the large batch has.
const LARGE: usize = 1000;
/// How many conversations it goes to, in turn.
const GROUPS: usize = 10;

/// An empty batch has an empty answer.
pub async fn an_empty_batch_has_an_empty_answer(store: Shared) {
    assert!(store.commit(&[]).await.is_empty());
}

/// A commit without writes is good and changes nothing.
pub async fn a_commit_without_writes_changes_nothing(store: Shared) {
    group(&store, "g", &["al"]).await;
    let before = conversation(&store, "g").await;
    let done = Change::to("g").done(&store).await;
    assert!(done.appended.is_empty() && !done.created);
    assert_eq!(conversation(&store, "g").await, before);
}

/// Each commit of a batch sees what the ones before it did.
pub async fn a_commit_sees_those_before_it_in_its_batch(store: Shared) {
    let on = |text| Change::to("g").say("al", text);
    let batch = [
        on("too early"),
        Change::to("g").create(&["al"]).say("al", "1"),
        on("2").member("bo", joins(FirstSeq::Here)),
        on("3").expect(Seq(2)).actor("bo"),
        on("4").member("bo", MemberOp::Remove).expect(Seq(2)),
        on("no").expect(Seq(2)).actor("bo"),
        on("5").expect(Seq(4)).read("al", 9),
        Change::to("h").create(&["cy"]).say("cy", "h1"),
    ];
    let batch = batch.map(Change::commit);
    let answers = store.commit(&batch).await;
    assert_eq!(answers.len(), batch.len());
    assert_rejected!(&answers[0], Rejected::NotFound);
    assert_rejected!(&answers[5], Rejected::Conflict);
    let good = |at: usize| answers[at].as_ref().unwrap();
    for (at, seq) in [(1, 1), (2, 2), (3, 3), (4, 4), (6, 5), (7, 1)] {
        assert_eq!(good(at).appended[0].seq, Seq(seq), "commit {at}");
    }
    assert_eq!(
        (good(1).created, good(2).created, good(7).created),
        (true, false, true)
    );
    assert_eq!([2, 3, 4, 6].map(|at| good(at).version.0), [2, 2, 4, 4]);
    assert_eq!(texts(&store, "g").await, ["1", "2", "3", "4", "5"]);
    let bo = member(&store, "g", "bo").await;
    assert_eq!((bo.first_seq, bo.left_seq), (Seq(2), Some(Seq(4))));
    assert_eq!(member(&store, "g", "al").await.read, Seq(5));
    assert_eq!(texts(&store, "h").await, ["h1"]);
}

/// The commit at a place of the large batch, and whether it is one that must fail.
fn of_large(at: usize) -> (Change, bool) {
    let group = format!("g{}", at % GROUPS);
    let change = Change::to(&group);
    match at {
        0 | 500 => (change.append(sent("al", "used", "other")), true),
        501 => (Change::to("nowhere").say("al", "x"), true),
        507 => (change.say("al", "x").expect(Seq(99)), true),
        999 => (change.say("al", "x").title("t").expect(Seq(99)), true),
        _ => (change.say("al", &at.to_string()), false),
    }
}

/// A large batch to many conversations with refused commits in its middle and at its ends: the
/// others are stored, each conversation in order and without a gap, and the answers stand in the
/// order asked.
pub async fn a_bad_commit_in_a_large_batch_fails_alone(store: Shared) {
    for n in 0..GROUPS {
        let id = format!("g{n}");
        group(&store, &id, &["al"]).await;
        Change::to(&id)
            .append(sent("al", "used", "first"))
            .done(&store)
            .await;
    }
    let batch: Vec<_> = (0..LARGE).map(|at| of_large(at).0.commit()).collect();
    let answers = store.commit(&batch).await;
    assert_eq!(answers.len(), LARGE);
    for at in [0, 500] {
        assert_rejected!(&answers[at], Rejected::CmIdReused);
    }
    assert_rejected!(&answers[501], Rejected::NotFound);
    for at in [507, 999] {
        assert_rejected!(&answers[at], Rejected::Conflict);
    }
    for n in 0..GROUPS {
        let mut expected = vec!["first".to_owned()];
        for at in (n..LARGE).step_by(GROUPS).filter(|at| !of_large(*at).1) {
            expected.push(at.to_string());
            let done = answers[at].as_ref().unwrap().appended[0];
            assert_eq!(done.seq, Seq(expected.len() as u64));
            assert_eq!(done.id, first_id(&batch[at]));
        }
        let id = format!("g{n}");
        assert_eq!(texts(&store, &id).await, expected);
        assert_eq!(
            conversation(&store, &id).await.title.as_deref(),
            Some("A group")
        );
    }
    assert!(!exists(&store, "nowhere").await);
}

fn first_id(commit: &Commit) -> MessageId {
    let Some(Write::Append(entry)) = commit.writes.first() else {
        panic!("its first write appends");
    };
    entry.id
}
