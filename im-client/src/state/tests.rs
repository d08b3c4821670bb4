//! The state file over crashes: cut at every byte, damaged, locked, written anew.

use im_core::model::{Epoch, Seq, Target};

use super::*;

fn draft(n: u64) -> Draft {
    let to = Target::User(UserId::new("bo").unwrap());
    Draft::text(CmId::new(format!("m{n}")).unwrap(), to, format!("text {n}"))
}

fn cursor(conv: &str, seq: u64) -> Cursor {
    Cursor {
        conv: ConversationId::new(conv).unwrap(),
        epoch: Some(Epoch(1)),
        seq: Seq(seq),
        head: Seq(seq + 1),
        left: false,
    }
}

fn cm_ids(restored: &Restored) -> Vec<&str> {
    restored
        .pending
        .iter()
        .map(|send| send.draft.cm_id.as_str())
        .collect()
}

fn fill(state: &mut StateFile) {
    state.set_user(UserId::new("ann").unwrap());
    for n in [3, 1, 2] {
        state.draft(&draft(n));
    }
    state.tried(&CmId::new("m3").unwrap(), Timestamp(7));
    state.cursor(cursor("c", 1));
    state.since("t1".to_owned());
    state.done(CmId::new("m1").unwrap());
    state.cursor(cursor("c", 2));
    state.write().unwrap();
}

/// A filled file, closed: all its bytes.
fn filled(path: &Path) -> Vec<u8> {
    let (mut state, _) = StateFile::open(path).unwrap();
    fill(&mut state);
    drop(state);
    std::fs::read(path).unwrap()
}

#[test]
fn what_was_written_comes_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let (mut state, restored) = StateFile::open(&path).unwrap();
    assert!(restored.pending.is_empty() && restored.since.is_none());
    fill(&mut state);
    for compact in [false, true, false] {
        drop(state);
        let (again, restored) = StateFile::open(&path).unwrap();
        assert_eq!(cm_ids(&restored), ["m3", "m2"]);
        assert_eq!(restored.pending[0].draft, draft(3));
        let tries: Vec<_> = restored.pending.iter().map(|send| send.first_try).collect();
        assert_eq!(tries, [Some(Timestamp(7)), None]);
        assert_eq!(restored.cursors, [cursor("c", 2)]);
        assert_eq!(restored.since.as_deref(), Some("t1"));
        assert_eq!(again.user().map(UserId::as_str), Some("ann"));
        state = again;
        if compact {
            state.compact(&restored.pending).unwrap();
        }
    }
}

#[test]
fn a_file_cut_anywhere_holds_what_was_whole_and_can_be_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let whole = filled(&path);
    for cut in 0..whole.len() {
        let (records, good) = read_all(&path, &whole[..cut]).unwrap();
        assert!(good <= cut);
        let held = replay(records).unwrap();
        // A token is never there without the cursors that it covers.
        assert!(held.since.is_none() || !held.cursors.is_empty());
    }
    for cut in (0..whole.len()).step_by(41) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (mut state, before) = StateFile::open(&path).unwrap();
        state.draft(&draft(9));
        state.write().unwrap();
        drop(state);
        let (_, after) = StateFile::open(&path).unwrap();
        let mut expected = cm_ids(&before);
        expected.push("m9");
        assert_eq!(cm_ids(&after), expected, "cut at {cut}");
    }
}

#[test]
fn damage_in_the_middle_is_told_and_garbage_at_the_end_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let whole = filled(&path);
    for at in 0..whole.len() - 100 {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        let read = read_all(&path, &damaged);
        assert!(matches!(read, Err(StateError::Damaged { .. })), "at {at}");
    }
    for garbage in [vec![0; 100], vec![0xff; 100], whole[20..60].to_vec()] {
        std::fs::write(&path, [whole.clone(), garbage].concat()).unwrap();
        let (_, restored) = StateFile::open(&path).unwrap();
        assert_eq!(cm_ids(&restored), ["m3", "m2"]);
    }
}

#[test]
fn two_clients_can_not_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let first = StateFile::open(&path).unwrap();
    assert!(matches!(
        StateFile::open(&path),
        Err(StateError::InUse { .. })
    ));
    drop(first);
    StateFile::open(&path).unwrap();
}

#[test]
fn a_file_does_not_grow_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let (mut state, _) = StateFile::open(&path).unwrap();
    let mut largest = 0;
    for n in 0..20_000 {
        state.cursor(cursor("c", n));
        if n % 100 == 0 {
            state.write().unwrap();
        }
        if state.is_large() {
            state.compact(&[]).unwrap();
        }
        largest = largest.max(state.len);
    }
    assert!(largest < 2 * COMPACT_BYTES, "{largest}");
    state.write().unwrap();
    drop(state);
    let (_, restored) = StateFile::open(&path).unwrap();
    assert_eq!(restored.cursors, [cursor("c", 19_999)]);
}
