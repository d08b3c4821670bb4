//! Transactions that are numbered and have not ended: what others may do meanwhile, and what a list
//! covers.

use std::sync::Arc;
use std::time::Duration;

use im_core::model::{ConversationId, Slot, Stamp, Stamps};
use im_core::port::{Holding, Phase, Place, PortErrorKind, Rejected, Shard as _, Store as _};
use im_store_sql::{MySqlDialect, PostgresDialect, ServerStore};
use sqlx::Pool;
use tokio::task::JoinHandle;

use super::{Database, Server};
use crate::words::{create, say, user};

/// What waits is looked at after so long.
const A_WHILE: Duration = Duration::from_millis(200);
/// What does not wait is done by then, also on a busy machine.
const SOON: Duration = Duration::from_secs(5);

async fn with_conversations<D: Server>(convs: &[&str]) -> Option<(Database<D>, ServerStore<D>)> {
    let database = Database::<D>::new().await?;
    let store = database.store().await;
    for id in convs {
        store.commit(&[create(id)]).await.remove(0).unwrap();
    }
    Some((database, store))
}

/// What ana hears of after some stamps, and up to which.
async fn list<D: Server>(store: &ServerStore<D>, since: &Stamps) -> (Vec<String>, Stamps) {
    let page = store.memberships(&user("ana"), since, 10, false).await;
    let page = page.unwrap();
    let convs = page.lines.iter().map(|line| &line.conversation.id);
    let convs = convs.map(|id| id.as_str().to_owned());
    (convs.collect(), page.stamps)
}

async fn sweep<D: Server>(store: &ServerStore<D>, since: &Stamps) -> (Vec<String>, Stamps) {
    let changed = store.changed(since, 10).await.unwrap();
    let convs = changed.convs.iter().map(|it| it.conv.as_str().to_owned());
    (convs.collect(), changed.stamps)
}

/// The slow one has its number first, and becomes visible last.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_stops_nobody_and_no_token_covers_it() {
    let convs = ["early", "late"];
    let Some((database, store)) = with_conversations::<PostgresDialect>(&convs).await else {
        return;
    };
    let (_, before) = list(&store, &Stamps::START).await;
    let pool = Pool::<sqlx::Postgres>::connect(&database.address)
        .await
        .unwrap();
    let mut slow = pool.begin().await.unwrap();
    store
        .commit_in(&mut slow, &say("early", "x"))
        .await
        .unwrap();
    let late = [say("late", "x")];
    let late = tokio::time::timeout(SOON, store.commit(&late)).await;
    late.unwrap().remove(0).unwrap();
    let (first, listed) = list(&store, &before).await;
    let (found, swept) = sweep(&store, &before).await;
    assert_eq!((&first, &found), (&vec!["late".to_owned()], &first));
    // It is given until what it may not cover has ended.
    assert_eq!(list(&store, &listed).await, (first, listed.clone()));
    slow.commit().await.unwrap();
    let all = vec!["early".to_owned(), "late".to_owned()];
    let (after, end) = list(&store, &listed).await;
    assert_eq!(after, all);
    assert_eq!(sweep(&store, &swept).await, (all, end.clone()));
    assert_eq!(list(&store, &end).await, (Vec::new(), end));
}

/// What a host takes back covers nothing either, and holds nobody up any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_is_under_way_no_more() {
    let convs = ["early", "late"];
    let Some((database, store)) = with_conversations::<PostgresDialect>(&convs).await else {
        return;
    };
    let pool = Pool::<sqlx::Postgres>::connect(&database.address)
        .await
        .unwrap();
    let mut slow = pool.begin().await.unwrap();
    let (_, before) = list(&store, &Stamps::START).await;
    let mut part = sqlx::Connection::begin(&mut *slow).await.unwrap();
    store
        .commit_in(&mut part, &say("early", "x"))
        .await
        .unwrap();
    part.rollback().await.unwrap();
    store.commit(&[say("late", "x")]).await.remove(0).unwrap();
    let (found, end) = list(&store, &before).await;
    assert_eq!(found, ["late"]);
    assert_eq!(list(&store, &end).await, (Vec::new(), end));
    slow.rollback().await.unwrap();
}

/// From the middle of what lies above it nobody could go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_above_what_is_under_way_waits_for_it() {
    let convs = ["early", "a", "b"];
    let Some((database, store)) = with_conversations::<PostgresDialect>(&convs).await else {
        return;
    };
    let (_, before) = list(&store, &Stamps::START).await;
    let pool = Pool::<sqlx::Postgres>::connect(&database.address)
        .await
        .unwrap();
    let mut slow = pool.begin().await.unwrap();
    store
        .commit_in(&mut slow, &say("early", "x"))
        .await
        .unwrap();
    for id in ["a", "b"] {
        store.commit(&[say(id, "x")]).await.remove(0).unwrap();
    }
    let reading = tokio::spawn({
        let store = store.clone();
        async move {
            let (mut found, mut since) = (Vec::new(), before);
            loop {
                let page = store.changed(&since, 1).await.unwrap();
                found.extend(page.convs.iter().map(|it| it.conv.as_str().to_owned()));
                since = page.stamps;
                if !page.more {
                    return found;
                }
            }
        }
    });
    still_waits(&reading).await;
    slow.commit().await.unwrap();
    assert_eq!(reading.await.unwrap(), ["early", "a", "b"]);
}

/// A database of the version before: its stamps lie below what comes.
#[tokio::test(flavor = "multi_thread")]
async fn stamps_go_on_above_those_of_the_version_before() {
    let Some((database, store)) = with_conversations::<PostgresDialect>(&["g"]).await else {
        return;
    };
    store.close().await;
    let before = "ALTER TABLE im_meta ADD COLUMN stamp BIGINT NOT NULL DEFAULT 20000; \
         DROP SEQUENCE im_stamp; DROP TABLE im_since_crash; \
         DELETE FROM im_migration WHERE version = 4; \
         UPDATE im_conversation SET stamp = 20000; UPDATE im_member SET stamp = 20000";
    PostgresDialect::run(&database.address, before.to_owned()).await;
    let store = database.store().await;
    let token = Stamps::one(Stamp(20_000));
    assert_eq!(list(&store, &Stamps::START).await.0, ["g"]);
    assert_eq!(list(&store, &token).await.0, [""; 0]);
    store.commit(&[say("g", "x")]).await.remove(0).unwrap();
    assert_eq!(list(&store, &token).await.0, ["g"]);
}

/// The numbers that a crash took with it may be in a token. What the server does not log is empty
/// after one.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_a_crash_took_with_it_are_not_given_again() {
    let Some((database, store)) = with_conversations::<PostgresDialect>(&["g"]).await else {
        return;
    };
    let (_, before) = list(&store, &Stamps::START).await;
    store.close().await;
    // Those of a few transactions that were taken back.
    let token = Stamps::one(Stamp(before.of(0).0 + 100 * 8_192));
    PostgresDialect::run(&database.address, "TRUNCATE im_since_crash".to_owned()).await;
    for _ in 0..2 {
        let store = database.store().await;
        store.commit(&[say("g", "x")]).await.remove(0).unwrap();
        let (found, after) = list(&store, &token).await;
        assert_eq!(found, ["g"]);
        assert!(after.of(0).0 < token.of(0).0 + 2_000 * 8_192, "once only");
        store.close().await;
    }
}

async fn still_waits<T>(task: &JoinHandle<T>) {
    tokio::time::sleep(A_WHILE).await;
    assert!(!task.is_finished(), "it did not wait");
}

fn holding(phase: Phase) -> Holding {
    Holding {
        slot: Slot::of(&ConversationId::new("g").unwrap()),
        epoch: 1,
        phase,
    }
}

/// A slot closes behind every commit that has found it open; and so does a database that was alone.
async fn a_slot_closes_behind_the_commits_to_it<D: Server>() {
    let Some((database, store)) = with_conversations::<D>(&["g"]).await else {
        return;
    };
    let pool = Pool::<D::Db>::connect(&database.address).await.unwrap();
    let mut slow = pool.begin().await.unwrap();
    let other = Arc::new(database.store().await);
    store.commit_in(&mut slow, &say("g", "1")).await.unwrap();
    let enrolling = tokio::spawn({
        let other = Arc::clone(&other);
        let place = Place { set: 1, at: 0 };
        async move { other.enroll(place, &Slot::all().collect::<Vec<_>>()).await }
    });
    still_waits(&enrolling).await;
    slow.commit().await.unwrap();
    enrolling.await.unwrap().unwrap();

    let mut slow = pool.begin().await.unwrap();
    other.commit_in(&mut slow, &say("g", "2")).await.unwrap();
    let (open, closed) = (holding(Phase::Open), holding(Phase::Closed { to: 1 }));
    let closing = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.turn(open.slot, Some(open), Some(closed)).await }
    });
    still_waits(&closing).await;
    slow.commit().await.unwrap();
    assert!(closing.await.unwrap().unwrap());
    for store in [&store, &other] {
        let late = store.commit(&[say("g", "3")]).await.remove(0);
        assert!(
            matches!(&late, Err(Rejected::Store(error)) if error.kind() == PortErrorKind::Moved),
            "{late:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_closes_behind_the_commits_to_it_on_postgres() {
    a_slot_closes_behind_the_commits_to_it::<PostgresDialect>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_closes_behind_the_commits_to_it_on_mysql() {
    a_slot_closes_behind_the_commits_to_it::<MySqlDialect>().await;
}
