//! What changed, over all users; and stamps from elsewhere.

use im_core::model::{Stamp, Stamps};
use im_core::port::FirstSeq;

use super::kit::*;

async fn changed(store: &Shared, since: &Stamps) -> (Vec<(String, u64)>, Stamps) {
    let page = store.changed(since, ALL).await.unwrap();
    assert!(!page.more);
    let convs = page.convs.iter();
    let mut found: Vec<_> = convs.map(|it| (it.conv.to_string(), it.head.0)).collect();
    found.sort_unstable();
    (found, page.stamps)
}

/// The sweep sees each conversation whose log, members or rules changed, once, with its head; a
/// cursor is no such change.
pub async fn the_sweep_sees_what_changed_once(store: Shared) {
    for id in ["a", "b", "c"] {
        group(&store, id, &["al", "bo"]).await;
    }
    let since = now(&store).await;
    assert!(changed(&store, &since).await.0.is_empty());
    say(&store, "b", "al", "1").await;
    say(&store, "a", "al", "1").await;
    say(&store, "b", "al", "2").await;
    Change::to("a").read("bo", 1).done(&store).await;
    let (found, since) = changed(&store, &since).await;
    assert_eq!(found, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert!(changed(&store, &since).await.0.is_empty());
    remove(&store, "c", "bo").await;
    let (found, since) = changed(&store, &since).await;
    assert_eq!(found, [("c".to_owned(), 1)]);
    Change::to("b").title("t").tell("x").done(&store).await;
    Change::to("b").read("al", 3).done(&store).await;
    assert_eq!(changed(&store, &since).await.0, [("b".to_owned(), 3)]);
}

/// The sweep also sees who left since, once, page by page, and nobody who came back.
pub async fn the_sweep_sees_who_left(store: Shared) {
    for id in ["a", "b", "c"] {
        group(&store, id, &["al", "bo", "cy"]).await;
    }
    let since = now(&store).await;
    let bo = remove(&store, "a", "bo").await;
    remove(&store, "b", "bo").await;
    add(&store, "b", "bo", FirstSeq::All).await;
    let cy = remove(&store, "a", "cy").await;
    let last = remove(&store, "c", "cy").await;
    say(&store, "a", "al", "x").await;
    let expected = [("a", "bo", bo), ("a", "cy", cy), ("c", "cy", last)];
    for limit in [1, 2, 99] {
        let (mut since, mut found) = (since.clone(), Vec::new());
        for _ in 0..=expected.len() {
            let page = store.changed(&since, limit).await.unwrap();
            let left = page.left.into_iter();
            found.extend(left.map(|it| (it.conv.to_string(), it.user.to_string(), it.seq)));
            since = page.stamps;
            if !page.more {
                break;
            }
        }
        found.sort_unstable();
        let expected = expected.map(|(conv, user, at)| (conv.to_owned(), user.to_owned(), at));
        assert_eq!(found, expected, "limit {limit}");
        assert!(store.changed(&since, ALL).await.unwrap().left.is_empty());
    }
}

/// With a limit of 0 there is only the stamp of now: nothing from before is seen after it.
pub async fn the_stamp_of_now_covers_what_was_before(store: Shared) {
    let empty = now(&store).await;
    group(&store, "g", &["al"]).await;
    say(&store, "g", "al", "x").await;
    let page = store.changed(&empty, 0).await.unwrap();
    assert!(page.convs.is_empty());
    assert!(page.stamps.is_ahead_of(&empty));
    assert!(changed(&store, &page.stamps).await.0.is_empty());
    assert_eq!(changed(&store, &empty).await.0.len(), 1);
}

/// Pages of the sweep join without a seam.
pub async fn pages_of_the_sweep_join_without_a_seam(store: Shared) {
    let empty = now(&store).await;
    let expected: Vec<_> = (0..25).map(|n| format!("g{n:02}")).collect();
    for id in &expected {
        group(&store, id, &["al"]).await;
        say(&store, id, "al", "x").await;
    }
    for limit in [1, 4, 24, 25, 99] {
        let mut found = Vec::new();
        let mut since = empty.clone();
        for _ in 0..=25 {
            let page = store.changed(&since, limit).await.unwrap();
            assert!(page.convs.len() <= limit);
            assert!(
                !page.more || page.stamps.is_ahead_of(&since),
                "a page that goes nowhere"
            );
            found.extend(page.convs.into_iter().map(|it| it.conv.to_string()));
            since = page.stamps;
            if !page.more {
                break;
            }
        }
        found.sort_unstable();
        assert_eq!(found, expected, "limit {limit}");
        assert!(changed(&store, &since).await.0.is_empty());
    }
}

/// Stamps ahead of the store show by those that come back.
pub async fn a_stamp_that_was_never_given_shows(store: Shared) {
    group(&store, "g", &["al"]).await;
    let ahead = Stamps::one(Stamp(now(&store).await.of(0).0 + 1_000_000));
    let page = store
        .memberships(&user("al"), &ahead, 9, true)
        .await
        .unwrap();
    assert!(page.lines.is_empty() && !page.more && ahead.is_ahead_of(&page.stamps));
    let page = store.changed(&ahead, 9).await.unwrap();
    assert!(page.convs.is_empty() && !page.more && ahead.is_ahead_of(&page.stamps));
}
