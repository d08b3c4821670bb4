//! Reads of a log: after, before, limits.

use im_core::model::Entry;

use super::kit::*;

async fn ten(store: &Shared) {
    group(store, "g", &["al"]).await;
    for n in 1..=10 {
        say(store, "g", "al", &format!("{n:02}")).await;
    }
}

/// `After` reads the first entries above a place, `Before` the last below one, both ascending.
pub async fn a_log_is_read_from_a_place_in_both_directions(store: Shared) {
    ten(&store).await;
    let end = (1 << 53) - 1;
    let table: [(_, &[u64]); 11] = [
        (after(0, 3, BYTES), &[1, 2, 3]),
        (after(3, 3, BYTES), &[4, 5, 6]),
        (after(8, 3, BYTES), &[9, 10]),
        (after(10, 3, BYTES), &[]),
        (after(end, 3, BYTES), &[]),
        (before(end, 3, BYTES), &[8, 9, 10]),
        (before(11, 3, BYTES), &[8, 9, 10]),
        (before(4, 3, BYTES), &[1, 2, 3]),
        (before(3, 3, BYTES), &[1, 2]),
        (before(1, 3, BYTES), &[]),
        (before(0, 3, BYTES), &[]),
    ];
    for (query, expected) in table {
        let found = read(&store, "g", query.clone()).await;
        assert_eq!(seqs(&found), expected, "{query:?}");
        for entry in &found {
            assert_eq!(text_of(entry), format!("{:02}", entry.seq.0));
        }
    }
}

/// A read holds at most as many bytes of bodies as asked, but one entry at least.
pub async fn a_read_is_bounded_in_bytes_but_never_empty(store: Shared) {
    ten(&store).await;
    let size = log(&store, "g").await[0].body.json().len();
    let table: [(_, &[u64]); 9] = [
        (after(0, 9, 3 * size), &[1, 2, 3]),
        (after(0, 9, 3 * size - 1), &[1, 2]),
        (after(0, 2, 3 * size), &[1, 2]),
        (after(0, 9, 1), &[1]),
        (after(9, 9, 0), &[10]),
        (before(11, 9, 3 * size), &[8, 9, 10]),
        (before(11, 9, 3 * size - 1), &[9, 10]),
        (before(11, 9, 0), &[10]),
        (before(2, 9, 1), &[1]),
    ];
    for (query, expected) in table {
        let found = read(&store, "g", query.clone()).await;
        assert_eq!(seqs(&found), expected, "{query:?}");
    }
}

/// A large entry ends a read before it, and is read alone by the next. Bytes are counted, not
/// characters.
pub async fn a_large_entry_is_read_alone(store: Shared) {
    group(&store, "g", &["al"]).await;
    for text in ["a", &"𝄞".repeat(400), "b"] {
        say(&store, "g", "al", text).await;
    }
    for (from, expected) in [(0, 1), (1, 2), (2, 3)] {
        assert_eq!(
            seqs(&read(&store, "g", after(from, 9, 1000)).await),
            [expected]
        );
    }
    for (from, expected) in [(4, 3), (3, 2), (2, 1)] {
        assert_eq!(
            seqs(&read(&store, "g", before(from, 9, 1000)).await),
            [expected]
        );
    }
}

/// A conversation that does not exist has no entries.
pub async fn no_conversation_has_no_entries(store: Shared) {
    ten(&store).await;
    assert!(read(&store, "G", after(0, 9, BYTES)).await.is_empty());
    assert!(read(&store, "G", before(9, 9, BYTES)).await.is_empty());
}

/// Pages of any size join to the whole log, from both ends.
pub async fn pages_of_a_log_join_without_a_seam(store: Shared) {
    group(&store, "g", &["al"]).await;
    for round in 0..7 {
        let lengths = (0..43).map(|n| (round * 43 + n * 31) % 97);
        let say = |commit: Change, n| commit.say("al", &"é".repeat(n));
        lengths.fold(Change::to("g"), say).done(&store).await;
    }
    let whole = log(&store, "g").await;
    assert_eq!(seqs(&whole), (1..=301).collect::<Vec<_>>());
    let pages = 0..=whole.len();
    for (limit, bytes) in [(1, BYTES), (50, BYTES), (200, 700), (200, 0)] {
        let (mut up, mut down): (Vec<Entry>, Vec<Entry>) = (Vec::new(), Vec::new());
        for _ in pages.clone() {
            let from = up.last().map_or(0, |entry| entry.seq.0);
            let page = read(&store, "g", after(from, limit, bytes)).await;
            assert!(page.len() <= limit);
            up.extend(page);
        }
        for _ in pages.clone() {
            let from = down.last().map_or(302, |entry| entry.seq.0);
            let page = read(&store, "g", before(from, limit, bytes)).await;
            assert!(page.len() <= limit);
            down.extend(page.into_iter().rev());
        }
        down.reverse();
        assert!(up == whole && down == whole, "limit {limit}, {bytes} bytes");
    }
}
