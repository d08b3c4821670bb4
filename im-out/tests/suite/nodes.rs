//! Several nodes, clocks that jump, and an operator who asks for it again.

use std::sync::Arc;
use std::time::Duration;

use im_core::model::{ConversationKind, Seq};
use im_core::port::Store;
use im_out::{Sink, dead_letters, replay};
use im_testkit::memory::{Fault, FaultyStore};

use super::kit::{Book, World, conv, few};

const SOON: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(300);

fn sink(book: &Arc<Book>) -> Arc<dyn Sink> {
    Arc::clone(book) as _
}

#[tokio::test(start_paused = true)]
async fn one_of_two_nodes_follows_and_the_other_one_when_it_is_paused() {
    let world = World::new();
    let (one, two) = (Book::new(), Book::new());
    let paused = Arc::new(FaultyStore::new(world.store()));
    let store = Arc::clone(&paused) as Arc<dyn Store>;
    let first = tokio::spawn(world.on(store, "one", sink(&one)).run());
    tokio::time::sleep(SOON).await;
    let second = tokio::spawn(world.follower("two", sink(&two)).run());
    world.make("a", &["al"]).await;
    for n in 0..10 {
        world.say("a", "al", &n.to_string()).await;
    }
    tokio::time::sleep(SOON).await;
    assert_eq!(one.taken().len(), 10);
    assert!(two.taken().is_empty());
    // The first one hangs in the middle of a call, as a stopped process does.
    paused.set_writes(Some(Fault::Hang));
    paused.set_reads(Some(Fault::Hang));
    world.say("a", "al", "x").await;
    tokio::time::sleep(LONG).await;
    assert_eq!(two.first("a"), [11]);
    world.say("a", "al", "y").await;
    tokio::time::sleep(SOON).await;
    // It wakes up, and has lost the lease: what it does then moves nothing back.
    paused.set_writes(None);
    paused.set_reads(None);
    tokio::time::sleep(SOON).await;
    world.say("a", "al", "z").await;
    tokio::time::sleep(SOON).await;
    assert_eq!(two.first("a"), [11, 12, 13]);
    assert!(one.taken().len() <= 12, "{:?}", one.taken());
    first.abort();
    second.abort();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_while_costs_time_only() {
    let world = World::new();
    let book = Book::new();
    let faulty = Arc::new(FaultyStore::new(world.store()));
    let store = Arc::clone(&faulty) as Arc<dyn Store>;
    let following = tokio::spawn(world.on(store, "one", sink(&book)).run());
    tokio::time::sleep(SOON).await;
    world.make("a", &["al"]).await;
    for fault in [Fault::FailBefore, Fault::FailAfter, Fault::Full] {
        faulty.set_writes(Some(fault));
        world.say("a", "al", "x").await;
        tokio::time::sleep(SOON * 4).await;
        faulty.set_writes(None);
        tokio::time::sleep(SOON * 4).await;
    }
    assert_eq!(book.first("a"), [1, 2, 3]);
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn clocks_that_jump_skip_nothing_and_give_nothing_up() {
    let world = World::new();
    let book = Book::new();
    book.refuse("b", 1, 20);
    let following = tokio::spawn(world.follower("one", sink(&book)).run());
    tokio::time::sleep(SOON).await;
    let day = 24 * 3_600_000;
    world.make("a", &["al"]).await;
    world.make("b", &["al"]).await;
    for jump in [0, 30 * day, -60 * day, 1, 400 * day, -370 * day] {
        world.say("a", "al", "x").await;
        world.say("b", "al", "x").await;
        tokio::time::sleep(SOON).await;
        world.clock.jump(jump);
        tokio::time::sleep(SOON).await;
    }
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(book.first("a"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(book.first("b"), [1, 2, 3, 4, 5, 6]);
    let dead = dead_letters(&world.store(), "t").await.unwrap();
    assert_eq!(dead, []);
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_conversation_waits_for_its_head_and_the_others_go_on() {
    let world = World::new();
    let book = Book::new();
    book.refuse("a", 2, 5);
    let following = tokio::spawn(world.follower("one", sink(&book)).run());
    tokio::time::sleep(SOON).await;
    for id in ["a", "b"] {
        world.make(id, &["al"]).await;
        for n in 0..600 {
            world.say(id, "al", &n.to_string()).await;
        }
    }
    tokio::time::sleep(SOON).await;
    assert_eq!(book.first("a"), [1]);
    assert_eq!(book.first("b"), (1..=600).collect::<Vec<_>>());
    tokio::time::sleep(LONG * 3).await;
    assert_eq!(book.first("a"), (1..=600).collect::<Vec<_>>());
    let taken = book.taken();
    assert_eq!(taken.len(), 1_200, "each once when nothing crashes");
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_told_again_when_an_operator_asks() {
    let world = World::new();
    let book = Book::new();
    book.refuse("a", 2, 3);
    let following = tokio::spawn(world.follower("one", sink(&book)).settings(few()).run());
    tokio::time::sleep(SOON).await;
    world.make("a", &["al"]).await;
    for n in 0..4 {
        world.say("a", "al", &n.to_string()).await;
    }
    tokio::time::sleep(LONG).await;
    assert_eq!(book.first("a"), [1, 3, 4]);
    let dead = dead_letters(&world.store(), "t").await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].seq, dead[0].why.as_str()), (Seq(2), "HTTP 422"));
    assert_eq!(dead_letters(&world.store(), "other").await.unwrap(), []);
    replay(&world.store(), "t", &conv("a"), Seq(2))
        .await
        .unwrap();
    tokio::time::sleep(LONG).await;
    assert_eq!(book.first("a"), [1, 3, 4, 2]);
    let again: Vec<_> = book.taken()[3..].iter().map(|(_, seq)| *seq).collect();
    assert_eq!(again, [2, 3, 4]);
    assert_eq!(dead_letters(&world.store(), "t").await.unwrap(), []);
    following.abort();
}

/// Whoever switches webhooks on is not told years of history.
#[tokio::test(start_paused = true)]
async fn it_begins_with_what_is_said_after_it() {
    let world = World::new();
    let book = Book::new();
    world.make("a", &["al"]).await;
    for n in 0..100 {
        world.say("a", "al", &n.to_string()).await;
    }
    world.clock.jump(3_600_000);
    let following = tokio::spawn(world.follower("one", sink(&book)).run());
    tokio::time::sleep(SOON).await;
    assert!(book.taken().is_empty());
    world.say("a", "al", "new").await;
    tokio::time::sleep(SOON).await;
    assert_eq!(book.first("a"), [101]);
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn what_the_staff_did_is_told_to_nobody() {
    let world = World::new();
    let book = Book::new();
    let following = tokio::spawn(world.follower("one", sink(&book)).run());
    tokio::time::sleep(SOON).await;
    world.make_one("log", ConversationKind::Audit, &[]).await;
    world.say("log", "al", "banned bo").await;
    world.make("a", &["al"]).await;
    world.say("a", "al", "hi").await;
    tokio::time::sleep(LONG).await;
    assert_eq!(book.taken(), [("a".to_owned(), 1)]);
    following.abort();
}
