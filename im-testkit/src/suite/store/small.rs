//! Cursors, blocks, records, and the numbers of starts.

use std::collections::BTreeSet;

use im_core::model::{Seq, Stamps, Timestamp};
use im_core::port::{Rejected, next_start};

use super::kit::*;

async fn cursors(store: &Shared, who: &str) -> (u64, u64) {
    let it = member(store, "g", who).await;
    (it.delivered.0, it.read.0)
}

async fn group_of_five_entries(store: &Shared) {
    group(store, "g", &["al", "bo"]).await;
    for _ in 0..5 {
        say(store, "g", "al", "x").await;
    }
}

/// Cursors move forward only, never beyond the head, and `read` implies `delivered`.
pub async fn cursors_move_forward_to_the_head_at_most(store: Shared) {
    group_of_five_entries(&store).await;
    let moves = [
        ((Some(2), None), (2, 0)),
        ((Some(1), None), (2, 0)),
        ((None, Some(1)), (2, 1)),
        ((None, Some(3)), (3, 3)),
        ((Some(1), Some(2)), (3, 3)),
        ((None, None), (3, 3)),
        ((Some(4), Some(3)), (4, 3)),
        ((Some(99), None), (5, 3)),
        ((None, Some((1 << 53) - 1)), (5, 5)),
        ((Some(0), Some(0)), (5, 5)),
    ];
    for ((delivered, read), expected) in moves {
        Change::to("g")
            .cursor("bo", delivered, read)
            .done(&store)
            .await;
        assert_eq!(
            cursors(&store, "bo").await,
            expected,
            "{delivered:?} {read:?}"
        );
    }
    assert_eq!(cursors(&store, "al").await, (0, 0));
    assert_eq!(conversation(&store, "g").await.head, Seq(5));
}

/// A cursor behind an entry of the same commit may reach it.
pub async fn a_cursor_reaches_an_entry_of_its_own_commit(store: Shared) {
    group(&store, "g", &["al"]).await;
    Change::to("g")
        .say("al", "1")
        .read("al", 1)
        .done(&store)
        .await;
    assert_eq!(cursors(&store, "al").await, (1, 1));
}

/// Of several moves in one batch the furthest place wins.
pub async fn the_furthest_of_many_moves_wins(store: Shared) {
    group_of_five_entries(&store).await;
    let batch = [2, 4, 1].map(|n| {
        let change = Change::to("g").cursor("al", Some(n), None);
        change.read("bo", 5 - n).commit()
    });
    assert!(store.commit(&batch).await.iter().all(Result::is_ok));
    assert_eq!(cursors(&store, "al").await, (4, 0));
    assert_eq!(cursors(&store, "bo").await, (4, 4));
}

/// Cursors of strangers, of those who left, and in conversations that don't exist: nothing
/// happens.
pub async fn cursors_of_those_who_are_no_members_do_nothing(store: Shared) {
    group_of_five_entries(&store).await;
    remove(&store, "g", "bo").await;
    for (id, who) in [("g", "bo"), ("g", "stranger"), ("nowhere", "al")] {
        Change::to(id)
            .cursor(who, Some(1), Some(1))
            .done(&store)
            .await;
    }
    assert_eq!(cursors(&store, "bo").await, (0, 0));
    assert_eq!(find(&store, "g", "stranger").await, None);
    assert!(!exists(&store, "nowhere").await);
}

/// A block stands from one user to another, once, until it is taken back; it needs no
/// conversation and makes none.
pub async fn a_block_has_a_direction_and_an_end(store: Shared) {
    let there = async |from, to| recorded(&store, &block(from, to), AT).await.is_some();
    let set = |on| Change::of_block("a", "b", on).done(&store);
    for _ in 0..2 {
        set(true).await;
        assert!(there("a", "b").await);
        assert!(recorded(&store, &block("a", "b"), NEVER).await.is_some());
    }
    assert!(!there("b", "a").await);
    for other in &LOOK_ALIKES[1..] {
        assert!(!there(other, "b").await, "{other:?}");
        assert!(!there("b", other).await, "{other:?}");
    }
    for _ in 0..2 {
        set(false).await;
        assert!(!there("a", "b").await);
    }
    set(true).await;
    assert!(there("a", "b").await);
    assert!(!exists(&store, direct("a", "b").as_str()).await);
}

/// A record is there under exactly its key, with its value, until it expires.
pub async fn a_record_is_there_until_it_expires(store: Shared) {
    let key = answer("a", "k");
    assert_eq!(recorded(&store, &key, AT).await, None);
    let value = "{\"conv\":\"𝄞 'x' \\\\ \\\" é\"}";
    Change::to("g")
        .record(&key, value, NEVER)
        .done(&store)
        .await;
    let last = Timestamp(NEVER.0 - 1);
    for now in [Timestamp(0), AT, last] {
        assert_eq!(recorded(&store, &key, now).await.as_deref(), Some(value));
    }
    assert_eq!(recorded(&store, &key, NEVER).await, None);
    for other in &LOOK_ALIKES[1..] {
        assert_eq!(
            recorded(&store, &answer(other, "k"), AT).await,
            None,
            "{other:?}"
        );
    }
    for other in [
        answer("a", "K"),
        answer("a", "k "),
        answer("ak", "k"),
        block("a", "k"),
    ] {
        assert_eq!(recorded(&store, &other, AT).await, None, "{other:?}");
    }
}

/// A request that was done before is rejected with the first answer, in any conversation, even if
/// that has changed since, and does nothing again.
pub async fn a_request_done_before_gets_the_first_answer(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    let version = conversation(&store, "g").await.version;
    let key = answer("al", "k");
    let request = |value: &str| {
        let change = Change::to("g").title("t").tell("titled").expect(version);
        change.record(&key, value, NEVER)
    };
    request("1").done(&store).await;
    for _ in 0..2 {
        let Err(Rejected::Done(value)) = request("2").on(&store).await else {
            panic!("it was done before");
        };
        assert_eq!(value, "1");
    }
    assert_eq!(conversation(&store, "g").await.head, Seq(1));
    // The key is the user's, not the conversation's.
    let elsewhere = Change::to("h").create(&["al"]).record(&key, "3", NEVER);
    assert_rejected!(elsewhere.on(&store).await, Rejected::Done(_));
    assert!(!exists(&store, "h").await);
    for other in [answer("bo", "k"), answer("al", "K")] {
        Change::to("g")
            .record(&other, "4", NEVER)
            .done(&store)
            .await;
    }
    assert_eq!(recorded(&store, &key, AT).await.as_deref(), Some("1"));
}

/// A record whose time is over is written again.
pub async fn an_expired_record_can_be_written_again(store: Shared) {
    let key = answer("al", "k");
    let write = |value, expires_at| Change::to("g").record(&key, value, expires_at);
    write("1", Timestamp(1)).done(&store).await;
    assert_eq!(recorded(&store, &key, AT).await, None);
    write("2", NEVER).done(&store).await;
    assert_eq!(recorded(&store, &key, AT).await.as_deref(), Some("2"));
    assert_rejected!(write("3", NEVER).on(&store).await, Rejected::Done(_));
}

/// Of two equal requests in one batch the second gets the first one's answer.
pub async fn a_request_twice_in_one_batch_is_done_once(store: Shared) {
    let key = answer("al", "k");
    let make = |id: &str| {
        Change::to(id)
            .create(&["al"])
            .record(&key, id, NEVER)
            .commit()
    };
    let answers = store.commit(&[make("g"), make("h")]).await;
    assert!(answers[0].is_ok());
    let Some(Err(Rejected::Done(value))) = answers.last() else {
        panic!("it was done before");
    };
    assert_eq!(value, "g");
    assert!(!exists(&store, "h").await);
}

/// Blocks, records, and cursors that move no `read` are no change of any list.
pub async fn what_no_list_shows_changes_no_list(store: Shared) {
    group_of_five_entries(&store).await;
    Change::to("g").read("bo", 3).done(&store).await;
    let since = now(&store).await;
    let commits = [
        Change::of_block("al", "bo", true),
        Change::to("g").record(&answer("al", "k"), "1", NEVER),
        Change::to("g").cursor("bo", Some(4), Some(3)),
        Change::to("g").cursor("bo", Some(9), None),
        Change::to("g"),
    ];
    for commit in commits {
        commit.done(&store).await;
        assert!(store.changed(&since, ALL).await.unwrap().convs.is_empty());
        for who in ["al", "bo"] {
            assert!(list(&store, who, &since).await.lines.is_empty());
        }
    }
    let page = list(&store, "al", &Stamps::START).await;
    assert!(!since.is_ahead_of(&page.stamps));
}

/// Ids, titles, keys and bodies that read like a statement of the database are data.
pub async fn what_looks_like_a_statement_is_data(store: Shared) {
    let hostile = [
        "'; DROP TABLE entry; --",
        "\" OR \"\"=\"",
        "') OR 1=1 --",
        "%_*?[a-z]",
        "${jndi:x} {{7*7}} $1 ?1 :a @a",
        "\\'\\\"`;/**/",
    ];
    for id in hostile {
        group(&store, id, &hostile).await;
        let done = Change::to(id).append(sent(id, id, id)).title(id);
        let done = done.record(&answer(id, id), id, NEVER);
        done.done(&store).await;
        Change::of_block(id, "bo", true).done(&store).await;
    }
    for id in hostile {
        assert_eq!(texts(&store, id).await, [id]);
        let retry = Change::to(id).append(sent(id, id, id)).done(&store).await;
        assert!(retry.appended[0].dup, "{id:?}");
        let title = conversation(&store, id).await.title;
        assert_eq!(title.as_deref(), Some(id));
        assert_eq!(names(&store, id).await.len(), hostile.len());
        assert_eq!(
            recorded(&store, &answer(id, id), AT).await.as_deref(),
            Some(id)
        );
        assert!(recorded(&store, &block(id, "bo"), AT).await.is_some());
        let page = list(&store, id, &Stamps::START).await;
        assert_eq!(page.lines.len(), hostile.len(), "{id:?}");
    }
}

/// Every start gets a number that no start got before, from 1.
pub async fn every_start_gets_its_own_number(store: Shared) {
    let mut numbers = BTreeSet::new();
    for _ in 0..4 {
        let number = next_start(&*store).await.unwrap();
        assert!(number >= 1);
        assert!(numbers.insert(number), "{number} was given before");
    }
    let tasks = (0..16).map(|_| next_start(&*store));
    for number in futures_util::future::join_all(tasks).await {
        assert!(numbers.insert(number.unwrap()), "it was given before");
    }
}
