//! Facts: the small things beside the logs.

use im_core::model::{Fact, FactKey, FactTable, Timestamp};
use im_core::port::{FactQuery, PortErrorKind, Put, Rejected, Was, Write};

use super::kit::*;

/// Tasks that write the same fact at once.
const WRITERS: usize = 8;

fn draft(owner: &str, key: &str) -> FactKey {
    FactKey::new(FactTable::Draft, owner, key)
}

/// A change of one fact, where it belongs.
fn put(key: &FactKey, to: Option<(&str, Option<Timestamp>)>, was: Was) -> Change {
    let place = key.place().expect("a place");
    Change::to(place.as_str()).write(Write::Put(Put {
        key: key.clone(),
        to: to.map(|(value, at)| (value.to_owned(), at)),
        was,
    }))
}

async fn set(store: &Shared, key: &FactKey, value: &str) {
    put(key, Some((value, None)), Was::Any).done(store).await;
}

async fn facts(store: &Shared, query: FactQuery) -> Vec<Fact> {
    store.facts(&query).await.expect("facts")
}

async fn value(store: &Shared, key: &FactKey) -> Option<String> {
    let mut found = facts(store, FactQuery::One(key.clone())).await;
    assert!(found.len() <= 1, "{found:?}");
    found.pop().map(|fact| {
        assert_eq!(fact.key, *key);
        fact.value
    })
}

/// All facts of an owner of a table, above a key and below another.
fn of(table: FactTable, owner: &str, after: Option<&str>, below: Option<&str>) -> FactQuery {
    FactQuery::Of {
        table,
        owner: owner.to_owned(),
        after: after.map(str::to_owned),
        below: below.map(str::to_owned),
        limit: ALL,
    }
}

async fn keys(store: &Shared, query: FactQuery) -> Vec<String> {
    let found = facts(store, query).await;
    found.into_iter().map(|fact| fact.key.key).collect()
}

/// A fact is what it was set to last, under exactly its key, until it is removed.
pub async fn a_fact_is_there_until_it_is_removed(store: Shared) {
    let key = draft("a", "g\n1");
    assert_eq!(value(&store, &key).await, None);
    for text in ["{\"text\":\"𝄞 'x' \\\\ \\\" é\"}", "{}"] {
        set(&store, &key, text).await;
        assert_eq!(value(&store, &key).await.as_deref(), Some(text));
    }
    for other in &LOOK_ALIKES[1..] {
        assert_eq!(
            value(&store, &draft(other, "g\n1")).await,
            None,
            "{other:?}"
        );
        assert_eq!(value(&store, &draft("a", other)).await, None, "{other:?}");
    }
    let setting = FactKey::new(FactTable::Profile, "a", "g\n1");
    assert_eq!(value(&store, &setting).await, None);
    for _ in 0..2 {
        put(&key, None, Was::Any).done(&store).await;
        assert_eq!(value(&store, &key).await, None);
    }
}

/// A fact that is not what the commit expects rejects it whole.
pub async fn a_fact_must_be_what_was_expected(store: Shared) {
    group(&store, "g", &["al"]).await;
    let key = FactKey::new(FactTable::Rule, "g", "join");
    let to = |text: &'static str| Some((text, None));
    let is = |text: &str| Was::Value(text.to_owned());
    assert_rejected!(
        put(&key, to("1"), is("0")).on(&store).await,
        Rejected::Conflict
    );
    let with_entry = put(&key, to("1"), is("0")).tell("changed");
    assert_rejected!(with_entry.on(&store).await, Rejected::Conflict);
    assert_eq!(conversation(&store, "g").await.head.0, 0);
    let with_entry = put(&key, to("1"), Was::Absent).tell("changed");
    assert_eq!(with_entry.done(&store).await.appended[0].seq.0, 1);
    assert_rejected!(
        put(&key, to("2"), Was::Absent).on(&store).await,
        Rejected::Conflict
    );
    assert_rejected!(
        put(&key, None, is("11")).on(&store).await,
        Rejected::Conflict
    );
    assert_eq!(value(&store, &key).await.as_deref(), Some("1"));
    put(&key, to("2"), is("1")).done(&store).await;
    put(&key, None, is("2")).done(&store).await;
    put(&key, to("3"), Was::Absent).done(&store).await;
    assert_eq!(value(&store, &key).await.as_deref(), Some("3"));
}

/// Commits of one batch see what those before them did to a fact.
pub async fn facts_of_one_batch_see_each_other(store: Shared) {
    let key = draft("a", "g");
    let to = |text: &'static str| Some((text, None));
    let is = |text: &str| Was::Value(text.to_owned());
    let batch = [
        put(&key, to("1"), Was::Absent).commit(),
        put(&key, to("2"), Was::Absent).commit(),
        put(&key, to("3"), is("1")).commit(),
        put(&key, None, is("3")).commit(),
        put(&key, to("4"), Was::Absent).commit(),
    ];
    let answers = store.commit(&batch).await;
    let done: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(done, [true, false, true, true, true]);
    assert_eq!(value(&store, &key).await.as_deref(), Some("4"));
    let gone = [
        put(&key, None, is("4")).commit(),
        put(&key, None, Was::Absent).commit(),
    ];
    assert!(store.commit(&gone).await.iter().all(Result::is_ok));
    assert_eq!(value(&store, &key).await, None);
}

/// Of many who change the same fact at once, on what they saw, one does.
pub async fn one_of_many_changes_a_fact(store: Shared) {
    let key = draft("a", "g");
    for round in 0..4 {
        let was = match value(&store, &key).await {
            Some(value) => Was::Value(value),
            None => Was::Absent,
        };
        let tasks = (0..WRITERS).map(|at| {
            let (store, key, was) = (Shared::clone(&store), key.clone(), was.clone());
            tokio::spawn(async move {
                let text = format!("{round} {at}");
                let change = put(&key, Some((&text, None)), was);
                change.on(&store).await.map(|_| text)
            })
        });
        let mut done = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            match task.await.expect("no panic") {
                Ok(text) => done.push(text),
                Err(Rejected::Conflict) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(done.len(), 1, "{done:?}");
        assert_eq!(value(&store, &key).await, done.pop());
    }
}

/// Facts of an owner are given in the order of their keys, byte by byte, from a place to another.
pub async fn facts_are_read_in_the_order_of_their_keys(store: Shared) {
    let names = [
        "", "A", "B", "a", "a\n1", "a\n10", "a\n2", "b", "é", "\u{fffd}", "𝄞",
    ];
    for (at, name) in names.iter().enumerate().rev() {
        set(&store, &draft("a", name), &at.to_string()).await;
        set(&store, &draft("b", name), "x").await;
    }
    set(&store, &FactKey::new(FactTable::Profile, "a", "aa"), "x").await;
    let all = |after, below| keys(&store, of(FactTable::Draft, "a", after, below));
    assert_eq!(all(None, None).await, names);
    assert_eq!(all(Some(""), None).await, names[1..]);
    assert_eq!(all(Some("a\n"), Some("a\u{b}")).await, names[4..7]);
    assert_eq!(all(Some("a"), Some("b")).await, names[4..7]);
    assert_eq!(all(None, Some("A")).await, names[..1]);
    assert_eq!(all(Some("zz"), Some("zz")).await, [""; 0]);
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let query = of(FactTable::Draft, "a", after.as_deref(), None).limited(3);
        let page = keys(&store, query).await;
        after = page.last().cloned();
        let whole = page.len() == 3;
        seen.extend(page);
        if !whole {
            break;
        }
    }
    assert_eq!(seen, names);
}

/// What two have about each other is written in one commit, and each one's list has all of theirs.
pub async fn a_list_about_others_is_whole(store: Shared) {
    let names: Vec<_> = (0..40).map(|n| format!("u{n:02}")).collect();
    for name in &names {
        let here = FactKey::new(FactTable::Friend, "al", name.as_str());
        let there = FactKey::new(FactTable::Friend, name.as_str(), "al");
        let back = put(&there, Some(("2", None)), Was::Any).commit();
        let change = put(&here, Some(("1", None)), Was::Absent);
        let change = change.write(back.writes[0].clone());
        change.done(&store).await;
    }
    assert_eq!(
        keys(&store, of(FactTable::Friend, "al", None, None)).await,
        names
    );
    let part = of(FactTable::Friend, "al", Some("u09"), Some("u30"));
    assert_eq!(keys(&store, part.clone()).await, names[10..30]);
    assert_eq!(keys(&store, part.limited(5)).await, names[10..15]);
    let theirs = keys(&store, of(FactTable::Friend, "u07", None, None)).await;
    assert_eq!(theirs, ["al"]);
}

/// What is due is given over all owners, the earliest first, until it is put off or removed.
pub async fn what_is_due_is_given_in_the_order_of_time(store: Shared) {
    let at = |n: u64| Some(AT.plus_ms(n));
    let due = |until: u64, limit| FactQuery::Due {
        table: FactTable::Scheduled,
        until: AT.plus_ms(until),
        limit,
    };
    let key = |owner: &str| FactKey::new(FactTable::Scheduled, owner, "m");
    for n in (0..10).rev() {
        let owner = format!("u{n}");
        put(&key(&owner), Some(("1", at(n * 10))), Was::Any)
            .done(&store)
            .await;
    }
    put(&key("never"), Some(("1", None)), Was::Any)
        .done(&store)
        .await;
    let other = FactKey::new(FactTable::Profile, "u", "m");
    put(&other, Some(("1", at(0))), Was::Any).done(&store).await;
    let owners = async |until, limit| -> Vec<String> {
        let found = facts(&store, due(until, limit)).await;
        found.into_iter().map(|fact| fact.key.owner).collect()
    };
    assert_eq!(owners(30, ALL).await, ["u0", "u1", "u2", "u3"]);
    assert_eq!(owners(1_000, 2).await, ["u0", "u1"]);
    put(&key("u0"), Some(("2", at(25))), Was::Any)
        .done(&store)
        .await;
    put(&key("u1"), None, Was::Any).done(&store).await;
    put(&key("u2"), Some(("1", None)), Was::Any)
        .done(&store)
        .await;
    assert_eq!(owners(30, ALL).await, ["u0", "u3"]);
    let found = facts(&store, due(25, ALL)).await;
    assert_eq!((found[0].at, found[0].value.as_str()), (at(25), "2"));
}

/// A fact is written with the conversation that it is placed with, and nowhere else.
pub async fn a_fact_out_of_its_place_is_refused(store: Shared) {
    group(&store, "g", &["al"]).await;
    let stray = FactKey::new(FactTable::Rule, "h", "join");
    let long = FactKey::new(FactTable::Rule, "g", "x".repeat(FactKey::KEY_BYTES_MAX + 1));
    for key in [stray, long] {
        let change = Change::to("g").say("al", "x").write(Write::Put(Put {
            key,
            to: Some(("1".to_owned(), None)),
            was: Was::Any,
        }));
        let Err(Rejected::Store(error)) = change.on(&store).await else {
            panic!("it is written");
        };
        assert_eq!(error.kind(), PortErrorKind::Internal);
    }
    assert_eq!(conversation(&store, "g").await.head.0, 0);
    let longest = FactKey::new(FactTable::Rule, "g", "𝄞".repeat(FactKey::KEY_BYTES_MAX / 4));
    set(&store, &longest, "1").await;
    assert_eq!(value(&store, &longest).await.as_deref(), Some("1"));
}

/// A fact moves no list and no version: its commit's entries do, as always.
pub async fn facts_change_no_list(store: Shared) {
    group(&store, "g", &["al"]).await;
    let before = now(&store).await;
    set(&store, &FactKey::new(FactTable::Rule, "g", "join"), "1").await;
    set(&store, &draft("al", "g"), "1").await;
    let changed = store.changed(&before, ALL).await.expect("a sweep");
    assert!(changed.convs.is_empty(), "{changed:?}");
}
