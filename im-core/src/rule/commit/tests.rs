//! Decisions as tables.

use super::*;

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn group(head: u64, version: u64) -> Conversation {
    let new = NewConversation {
        kind: ConversationKind::Group,
        title: None,
        hide_history: false,
        members: vec![(user("b"), Role::Member), (user("a"), Role::Owner)],
    };
    let (mut conversation, members) = begin(&ConversationId::new("g").unwrap(), &new);
    let names: Vec<_> = members.iter().map(|it| it.user.as_str()).collect();
    assert_eq!((names, conversation.member_count), (vec!["a", "b"], 2));
    conversation.head = Seq(head);
    conversation.version = Seq(version);
    conversation
}

fn commit(expected: Option<u64>, actor: Option<&str>) -> Commit {
    Commit {
        conv: ConversationId::new("g").unwrap(),
        expect_version: expected.map(Seq),
        actor: actor.map(user),
        writes: vec![Write::Title(None)],
    }
}

#[test]
fn a_version_conflicts_unless_it_is_the_actors_own_row_that_counts() {
    let there = group(9, 7);
    let mut row = newcomer(&user("a"), Role::Member, Seq(1));
    row.version = Seq(5);
    let verdict = |commit: &Commit, row: Option<&Member>| check(commit, Some(&there), row).is_ok();
    assert!(verdict(&commit(None, None), None));
    assert!(verdict(&commit(Some(7), None), None));
    assert!(!verdict(&commit(Some(6), None), Some(&row)));
    assert!(verdict(&commit(Some(6), Some("a")), Some(&row)));
    assert!(verdict(&commit(Some(5), Some("a")), Some(&row)));
    assert!(!verdict(&commit(Some(4), Some("a")), Some(&row)));
    assert!(!verdict(&commit(Some(6), Some("a")), None));
    let gone = Member {
        left_seq: Some(Seq(5)),
        ..row
    };
    assert!(!verdict(&commit(Some(6), Some("a")), Some(&gone)));
    // The row is asked for exactly when it decides.
    let asked = |commit: &Commit| actor_asked(commit, Some(&there)).is_some();
    assert!(asked(&commit(Some(6), Some("a"))));
    assert!(!asked(&commit(Some(7), Some("a"))) && !asked(&commit(Some(6), None)));
}

#[test]
fn only_the_holder_changes_a_log() {
    let mut there = group(9, 0);
    let hold = |from, to, head| {
        Write::Hold(Hold {
            from: Holder(from),
            to: Holder(to),
            head,
            lost: false,
        })
    };
    let verdict = |there: &Conversation, writes: &[Write]| {
        let commit = Commit {
            writes: writes.to_vec(),
            ..commit(None, None)
        };
        check(&commit, Some(there), None).map_err(|rejected| rejected.to_string())
    };
    let title = Write::Title(None);
    let fenced = Err("no longer the owner".to_owned());
    assert_eq!(verdict(&there, &[hold(7, 7, None), title.clone()]), fenced);
    assert_eq!(verdict(&there, &[hold(0, 7, Some(Seq(9)))]), Ok(()));
    let moved = verdict(&there, &[hold(0, 7, Some(Seq(8)))]);
    assert_eq!(moved, Err(Rejected::Conflict.to_string()));
    there.holder = Holder(7);
    assert_eq!(verdict(&there, std::slice::from_ref(&title)), fenced);
    assert_eq!(verdict(&there, &[title.clone(), hold(7, 7, None)]), fenced);
    assert_eq!(verdict(&there, &[hold(7, 0, None), title]), Ok(()));
    let cursor = Write::Cursor(CursorMove {
        user: user("a"),
        delivered: None,
        read: Some(Seq(1)),
    });
    assert_eq!(verdict(&there, &[cursor]), Ok(()));
}

#[test]
fn a_change_does_what_it_says_to_whom_it_can() {
    let change = |op| MemberChange {
        user: user("a"),
        op,
    };
    let add = |first| {
        let role = Role::Admin;
        change(MemberOp::Add { role, first })
    };
    let mut there = group(9, 0);
    let new = change_member(&mut there, None, &add(FirstSeq::Here), Seq(8)).unwrap();
    assert_eq!(
        (new.first_seq, new.left_seq, new.version),
        (Seq(8), None, Seq(9))
    );
    assert_eq!((new.role, there.member_count), (Role::Admin, 3));
    // Of one who is in: the role alone.
    let again = change_member(&mut there, Some(new), &add(FirstSeq::All), Seq(9)).unwrap();
    assert_eq!((again.first_seq, there.member_count), (Seq(8), 3));
    there.head = Seq(12);
    let gone = change_member(&mut there, Some(again), &change(MemberOp::Remove), Seq(12));
    let gone = gone.unwrap();
    assert_eq!((gone.left_seq, there.member_count), (Some(Seq(12)), 2));
    for op in [
        MemberOp::Remove,
        MemberOp::Role(Role::Owner),
        MemberOp::Mute(None),
    ] {
        for row in [None, Some(gone.clone())] {
            assert_eq!(change_member(&mut there, row, &change(op), Seq(13)), None);
        }
    }
    let back = change_member(&mut there, Some(gone), &add(FirstSeq::All), Seq(12)).unwrap();
    assert_eq!((back.first_seq, there.member_count), (Seq(1), 3));
}

#[test]
fn what_was_decided_before_all_were_told_to_be_quiet_is_decided_anew() {
    let row = newcomer(&user("a"), Role::Member, Seq(1));
    let admin = newcomer(&user("a"), Role::Admin, Seq(1));
    let sends = |kind| Commit {
        writes: vec![Write::Append(NewEntry {
            id: MessageId(1),
            from: user("a"),
            at: Timestamp(1),
            cm_id: None,
            digest: 0,
            body: crate::model::Body::of(kind, []),
            reply_to: None,
            mentions: crate::model::Mentions::None,
            expires_at: None,
        })],
        ..commit(Some(6), Some("a"))
    };
    use crate::model::Kind::{React, Text};
    for (speaks, kind, row, may) in [
        (Role::Member, Text, &row, true),
        (Role::Admin, Text, &row, false),
        (Role::Admin, React, &row, true),
        (Role::Admin, Text, &admin, true),
        (Role::Nobody, Text, &admin, false),
        (Role::Nobody, React, &admin, false),
    ] {
        let mut there = group(9, 7);
        there.speaks = speaks;
        let verdict = check(&sends(kind), Some(&there), Some(row));
        assert_eq!(verdict.is_ok(), may, "{speaks:?} {kind:?}");
    }
}
