//! Members: coming, going, roles, mutes.

use im_core::model::{Member, Role, Seq};
use im_core::port::{FirstSeq, MemberOp};

use super::kit::*;

/// Who joins sees everything that the log holds, or from the commit's first entry on.
pub async fn who_joins_sees_all_or_from_here(store: Shared) {
    group(&store, "g", &["al"]).await;
    say(&store, "g", "al", "1").await;
    say(&store, "g", "al", "2").await;
    let commit = Change::to("g")
        .tell("3")
        .member("bo", joins(FirstSeq::All))
        .tell("4")
        .member("cy", joins(FirstSeq::Here))
        .tell("5");
    assert_eq!(commit.done(&store).await.version, Seq(5));
    for (who, first) in [("bo", 1), ("cy", 3)] {
        let it = member(&store, "g", who).await;
        assert_eq!(
            (it.first_seq, it.left_seq, it.version),
            (Seq(first), None, Seq(5))
        );
        assert_eq!((it.role, it.muted_until), (Role::Member, None));
        assert_eq!((it.delivered, it.read), (Seq(0), Seq(0)));
    }
    assert_eq!(names(&store, "g").await, ["al", "bo", "cy"]);
    assert_eq!(conversation(&store, "g").await.member_count, 3);
}

/// Who is removed is a member no more from the commit's last entry on, the last that they may see.
pub async fn the_commits_last_entry_is_the_last_that_the_removed_see(store: Shared) {
    group(&store, "g", &["al", "bo", "cy"]).await;
    let commit = Change::to("g")
        .tell("1")
        .member("bo", MemberOp::Remove)
        .tell("2");
    assert_eq!(commit.done(&store).await.version, Seq(2));
    let bo = member(&store, "g", "bo").await;
    assert_eq!((bo.left_seq, bo.version), (Some(Seq(2)), Seq(2)));
    assert_eq!(names(&store, "g").await, ["al", "cy"]);
    assert_eq!(conversation(&store, "g").await.member_count, 2);
    say(&store, "g", "al", "3").await;
    assert_eq!(member(&store, "g", "bo").await, bo);
}

/// A re-join starts a new `first_seq`; it keeps the cursors and does not end a mute.
pub async fn who_comes_back_starts_anew_and_stays_muted(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    say(&store, "g", "al", "1").await;
    Change::to("g").read("bo", 1).done(&store).await;
    change(&store, "g", "bo", MemberOp::Mute(Some(NEVER))).await;
    assert_eq!(remove(&store, "g", "bo").await, Seq(3));
    say(&store, "g", "al", "4").await;
    assert_eq!(add(&store, "g", "bo", FirstSeq::Here).await, Seq(5));
    let bo = member(&store, "g", "bo").await;
    assert_eq!(
        (bo.first_seq, bo.left_seq, bo.version),
        (Seq(5), None, Seq(5))
    );
    assert_eq!((bo.delivered, bo.read), (Seq(1), Seq(1)));
    assert_eq!(bo.muted_until, Some(NEVER));
    assert_eq!(conversation(&store, "g").await.member_count, 2);
    assert_eq!(remove(&store, "g", "bo").await, Seq(6));
    assert_eq!(add(&store, "g", "bo", FirstSeq::All).await, Seq(7));
    assert_eq!(member(&store, "g", "bo").await.first_seq, Seq(1));
}

/// Who comes back has the role of the new joining.
pub async fn who_comes_back_has_the_new_role(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    change(&store, "g", "bo", MemberOp::Role(Role::Admin)).await;
    remove(&store, "g", "bo").await;
    add(&store, "g", "bo", FirstSeq::All).await;
    assert_eq!(member(&store, "g", "bo").await.role, Role::Member);
}

/// A role and a mute are set and ended, of that member only.
pub async fn roles_and_mutes_are_one_members_own(store: Shared) {
    group(&store, "g", &["al", "bo", "cy"]).await;
    let (role, mute) = (MemberOp::Role(Role::Admin), MemberOp::Mute(Some(NEVER)));
    assert_eq!(change(&store, "g", "bo", role).await, Seq(1));
    assert_eq!(change(&store, "g", "bo", mute).await, Seq(2));
    let bo = member(&store, "g", "bo").await;
    assert_eq!(
        (bo.role, bo.muted_until, bo.version),
        (Role::Admin, Some(NEVER), Seq(2))
    );
    let cy = member(&store, "g", "cy").await;
    assert_eq!(
        (cy.role, cy.muted_until, cy.version),
        (Role::Member, None, Seq(0))
    );
    change(&store, "g", "bo", MemberOp::Mute(None)).await;
    let bo = member(&store, "g", "bo").await;
    assert_eq!(
        (bo.role, bo.muted_until, bo.version),
        (Role::Admin, None, Seq(3))
    );
    assert_eq!(conversation(&store, "g").await.member_count, 3);
}

/// Two roles change hands in one commit.
pub async fn several_members_change_in_one_commit(store: Shared) {
    group(&store, "g", &["al", "bo", "cy"]).await;
    let commit = Change::to("g")
        .tell("1")
        .member("al", MemberOp::Role(Role::Admin))
        .member("bo", MemberOp::Role(Role::Owner))
        .member("cy", MemberOp::Remove)
        .member("dy", joins(FirstSeq::Here));
    commit.done(&store).await;
    for (who, role) in [
        ("al", Role::Admin),
        ("bo", Role::Owner),
        ("dy", Role::Member),
    ] {
        let it = member(&store, "g", who).await;
        assert_eq!((it.role, it.version, it.is_in()), (role, Seq(1), true));
    }
    assert_eq!(names(&store, "g").await, ["al", "bo", "dy"]);
    assert_eq!(conversation(&store, "g").await.member_count, 3);
}

/// Removing, role and mute of one who is no member do nothing.
pub async fn changes_of_one_who_is_no_member_do_nothing(store: Shared) {
    group(&store, "g", &["al", "bo"]).await;
    remove(&store, "g", "bo").await;
    let left = member(&store, "g", "bo").await;
    let (role, mute) = (MemberOp::Role(Role::Admin), MemberOp::Mute(Some(NEVER)));
    for op in [MemberOp::Remove, role, mute] {
        change(&store, "g", "bo", op).await;
        change(&store, "g", "stranger", op).await;
    }
    assert_eq!(member(&store, "g", "bo").await, left);
    assert_eq!(find(&store, "g", "stranger").await, None);
    assert_eq!(conversation(&store, "g").await.member_count, 1);
}

/// Members are read in the order of their ids' bytes, in pages that join without a seam.
pub async fn members_are_read_in_pages_by_id(store: Shared) {
    let mut expected: Vec<String> = LOOK_ALIKES.map(str::to_owned).into();
    expected.extend((0..100).map(|n| format!("u{n}")));
    let members: Vec<_> = expected.iter().map(String::as_str).collect();
    group(&store, "g", &members).await;
    remove(&store, "g", "u7").await;
    expected.retain(|id| id != "u7");
    expected.sort_unstable();
    assert_eq!(names(&store, "g").await, expected);
    for limit in [1, 7, 50] {
        let mut found: Vec<Member> = Vec::new();
        // One more than there are: a page that goes nowhere shows.
        for _ in 0..=expected.len() {
            let last = found.last().map(|it| it.user.clone());
            let page = store
                .members(&conv("g"), last.as_ref(), limit)
                .await
                .unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        let found: Vec<_> = found.iter().map(|it| it.user.as_str()).collect();
        assert_eq!(found, expected);
    }
    assert!(names(&store, "nowhere").await.is_empty());
}

/// A group of thousands is made, counted and read.
pub async fn a_group_of_thousands_is_whole(store: Shared) {
    let ids: Vec<_> = (0..3000).map(|n| format!("u{n:04}")).collect();
    let members: Vec<_> = ids.iter().map(String::as_str).collect();
    group(&store, "g", &members).await;
    assert_eq!(conversation(&store, "g").await.member_count, 3000);
    assert_eq!(names(&store, "g").await, ids);
    say(&store, "g", "u0000", "hi").await;
    assert_eq!(line(&store, "u2999", "g").await.unread, 1);
}
