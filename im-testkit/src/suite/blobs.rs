//! What every storage of blobs must do: [`blobs_suite!`](crate::blobs_suite).

use std::sync::Arc;

use bytes::Bytes;
use im_core::port::{Blobs, Content, ObjectKey, PUT_BYTES_MAX, PortErrorKind, READ_BYTES_MAX};

/// What a storage is used as.
type Any = Arc<dyn Blobs>;

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect("a key")
}

/// Bytes in which every place is another.
fn bytes(len: usize, seed: u8) -> Bytes {
    let byte = |at: usize| (at % 251) as u8 ^ (at / 251 % 256) as u8 ^ seed;
    (0..len).map(byte).collect()
}

async fn read(blobs: &Any, key: &ObjectKey, from: u64, len: usize) -> Option<Bytes> {
    blobs.read(key, from, len).await.expect("an answer")
}

/// All of an object, piece by piece.
async fn whole(blobs: &Any, key: &ObjectKey) -> Option<Bytes> {
    let size = blobs.size(key).await.expect("a size")?;
    let content = Content::new(Arc::clone(blobs), key.clone(), size);
    let mut all = Vec::new();
    while (all.len() as u64) < size {
        let piece = content.read(all.len() as u64, READ_BYTES_MAX).await;
        all.extend_from_slice(&piece.expect("a piece"));
    }
    Some(all.into())
}

/// What was put is read, whole and in parts.
pub async fn what_was_put_is_read(blobs: Any) {
    let key = key("blob/a-1");
    let put = bytes(3_000, 1);
    blobs.put(&key, put.clone()).await.expect("put");
    assert_eq!(blobs.size(&key).await.expect("a size"), Some(3_000));
    assert_eq!(whole(&blobs, &key).await, Some(put.clone()));
    for (from, len) in [(0, 1), (1, 2_000), (2_999, 1), (2_990, 100), (0, 9_999)] {
        let end = put.len().min(from + len);
        let part = read(&blobs, &key, from as u64, len).await;
        assert_eq!(part, Some(put.slice(from..end)), "{from}+{len}");
    }
}

/// Nothing is read at the end and beyond it.
pub async fn beyond_the_end_is_nothing(blobs: Any) {
    let key = key("a");
    blobs.put(&key, bytes(10, 0)).await.expect("put");
    for from in [10, 11, 1 << 40] {
        assert_eq!(read(&blobs, &key, from, 5).await, Some(Bytes::new()));
    }
}

/// What is not there is none, and its removal nothing.
pub async fn what_is_not_there_is_none(blobs: Any) {
    let key = key("blob/none");
    assert_eq!(read(&blobs, &key, 0, 10).await, None);
    assert_eq!(blobs.size(&key).await.expect("an answer"), None);
    blobs.remove(&key).await.expect("nothing");
    assert!(blobs.list(&key, 10).await.expect("a list").is_empty());
    let content = Content::new(blobs, key, 10);
    let read = content.read(0, 10).await.expect_err("is not there");
    assert_eq!(read.kind(), PortErrorKind::Corrupt);
}

/// A put takes the place of what was there, shorter or longer.
pub async fn a_put_takes_the_place_of_what_was_there(blobs: Any) {
    let key = key("a/b");
    for len in [100, 5, 2_000] {
        let put = bytes(len, len.to_le_bytes()[0]);
        blobs.put(&key, put.clone()).await.expect("put");
        assert_eq!(whole(&blobs, &key).await, Some(put));
    }
}

/// An object may be empty.
pub async fn an_object_may_be_empty(blobs: Any) {
    let (one, two) = (key("a"), key("b"));
    blobs.put(&one, Bytes::new()).await.expect("put");
    assert_eq!(blobs.size(&one).await.expect("a size"), Some(0));
    assert_eq!(read(&blobs, &one, 0, 9).await, Some(Bytes::new()));
    blobs
        .join(&two, std::slice::from_ref(&one))
        .await
        .expect("joined");
    assert_eq!(blobs.size(&two).await.expect("a size"), Some(0));
}

/// As much as may be put at once can be.
pub async fn as_much_as_may_be_put_can_be(blobs: Any) {
    let key = key("large");
    let put = bytes(PUT_BYTES_MAX, 3);
    blobs.put(&key, put.clone()).await.expect("put");
    assert!(whole(&blobs, &key).await == Some(put));
}

/// Parts are joined in the order that is said, and stay.
pub async fn parts_are_joined_in_their_order_and_stay(blobs: Any) {
    let parts: Vec<ObjectKey> = (0..12)
        .rev()
        .map(|n| key(&format!("upload/x/{n}")))
        .collect();
    let mut all = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let put = bytes(100 + n, n.to_le_bytes()[0]);
        all.extend_from_slice(&put);
        blobs.put(part, put).await.expect("put");
    }
    let joined = key("blob/x");
    blobs.join(&joined, &parts).await.expect("joined");
    assert_eq!(whole(&blobs, &joined).await, Some(all.into()));
    for part in &parts {
        assert!(whole(&blobs, part).await.is_some(), "{part}");
    }
    blobs
        .join(&joined, &parts[..1])
        .await
        .expect("joined again");
    assert_eq!(blobs.size(&joined).await.expect("a size"), Some(100));
}

/// Parts that are large together make one object.
pub async fn large_parts_are_joined(blobs: Any) {
    let parts: Vec<ObjectKey> = (0..4).map(|n| key(&format!("upload/y/{n}"))).collect();
    let mut all = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let put = bytes(4 << 20, n.to_le_bytes()[0]);
        all.extend_from_slice(&put);
        blobs.put(part, put).await.expect("put");
    }
    let joined = key("blob/y");
    blobs.join(&joined, &parts).await.expect("joined");
    assert!(whole(&blobs, &joined).await == Some(all.into()));
}

/// A part that is missing makes nothing, and what was there stays.
pub async fn a_missing_part_makes_nothing(blobs: Any) {
    let (here, none, joined) = (key("a"), key("b"), key("c"));
    blobs.put(&here, bytes(10, 0)).await.expect("put");
    for parts in [vec![none.clone()], vec![here.clone(), none.clone()]] {
        let error = blobs.join(&joined, &parts).await.expect_err("is missing");
        assert_eq!(error.kind(), PortErrorKind::Corrupt);
        assert_eq!(blobs.size(&joined).await.expect("an answer"), None);
    }
}

/// A list has what stands below a key and no neighbour, and no more than was asked for.
pub async fn a_list_has_what_stands_below(blobs: Any) {
    for name in ["u/a/1", "u/a/2", "u/a/x/3", "u/ab/4", "u/b/5", "u/a-6", "v"] {
        blobs.put(&key(name), bytes(1, 0)).await.expect("put");
    }
    let mut listed = blobs.list(&key("u/a"), 10).await.expect("a list");
    listed.sort_unstable();
    assert_eq!(listed, ["u/a/1", "u/a/2", "u/a/x/3"].map(key));
    assert_eq!(blobs.list(&key("u/a"), 2).await.expect("a list").len(), 2);
    assert!(blobs.list(&key("v"), 10).await.expect("a list").is_empty());
}

/// What is removed is gone, its neighbours stay, and it can come again.
pub async fn what_is_removed_is_gone(blobs: Any) {
    let (one, two) = (key("u/a/1"), key("u/a/2"));
    for key in [&one, &two] {
        blobs.put(key, bytes(5, 0)).await.expect("put");
    }
    blobs.remove(&one).await.expect("removed");
    assert_eq!(read(&blobs, &one, 0, 5).await, None);
    let left = blobs.list(&key("u"), 10).await.expect("a list");
    assert_eq!(left, std::slice::from_ref(&two));
    blobs.remove(&two).await.expect("removed");
    blobs.put(&one, bytes(6, 1)).await.expect("put");
    assert_eq!(whole(&blobs, &one).await, Some(bytes(6, 1)));
}

/// Of writers of one key, one wins with all of its bytes, and readers see no other.
pub async fn writers_of_one_key_leave_one_whole(blobs: Any) {
    let key = key("u/z");
    let versions: Vec<Bytes> = (0..8).map(|seed| bytes(50_000, seed)).collect();
    let write = |version: Bytes| {
        let (blobs, key) = (Arc::clone(&blobs), key.clone());
        tokio::spawn(async move { blobs.put(&key, version).await })
    };
    let tasks: Vec<_> = versions.iter().cloned().map(write).collect();
    for task in tasks {
        task.await.expect("a task").expect("put");
        let seen = read(&blobs, &key, 0, 50_000).await.expect("is there");
        assert!(versions.contains(&seen));
    }
}

/// Objects that come and go in one place don't hinder each other.
pub async fn neighbours_come_and_go(blobs: Any) {
    let work = |n: usize| {
        let blobs = Arc::clone(&blobs);
        tokio::spawn(async move {
            for round in 0..10 {
                let key = key(&format!("u/w/{n}-{round}"));
                blobs.put(&key, bytes(10, 0)).await.expect("put");
                blobs.remove(&key).await.expect("removed");
            }
        })
    };
    let tasks: Vec<_> = (0..8).map(work).collect();
    for task in tasks {
        task.await.expect("a task");
    }
    assert!(blobs.list(&key("u"), 10).await.expect("a list").is_empty());
}

/// Makes the tests of a [`Blobs`]: a `#[test]` for each case.
///
/// The expression is a future of `(guard, Arc<dyn Blobs>)`, evaluated for each case. See
/// [`suite`](crate::suite).
#[macro_export]
macro_rules! blobs_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, blobs,
            what_was_put_is_read
            beyond_the_end_is_nothing
            what_is_not_there_is_none
            a_put_takes_the_place_of_what_was_there
            an_object_may_be_empty
            as_much_as_may_be_put_can_be
            parts_are_joined_in_their_order_and_stay
            large_parts_are_joined
            a_missing_part_makes_nothing
            a_list_has_what_stands_below
            what_is_removed_is_gone
            writers_of_one_key_leave_one_whole
            neighbours_come_and_go
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_case() {
        let source = include_str!("blobs.rs");
        let unnamed = crate::suite::unnamed_cases(source, &[source]);
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}
