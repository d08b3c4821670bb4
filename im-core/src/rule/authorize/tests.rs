//! Decisions as tables.

use super::*;
use crate::model::{Seq, UserId};

fn member(user: &str, role: Role) -> Member {
    Member {
        user: UserId::new(user).unwrap(),
        role,
        first_seq: Seq(1),
        left_seq: None,
        version: Seq(0),
        muted_until: None,
        delivered: Seq(0),
        read: Seq(0),
    }
}

fn verdict(action: Action<'_>, member: Option<&Member>) -> Result<(), ErrorCode> {
    let view = ActorView {
        kind: ConversationKind::Group,
        speaks: Role::Member,
        rights: Rights::DEFAULT,
        member,
        barrier: Barrier::None,
        now: Timestamp(10),
    };
    authorize(action, view).map_err(|failure| failure.code)
}

#[test]
fn strangers_and_those_who_left_see_no_more_than_they_should() {
    let other = member("o", Role::Member);
    let mut left = member("l", Role::Owner);
    left.left_seq = Some(Seq(5));
    let actions = [
        Action::Send(Kind::Text),
        Action::See,
        Action::Add,
        Action::Remove(&other),
        Action::Leave { member_count: 2 },
        Action::SetRole {
            target: &other,
            role: Role::Admin,
        },
        Action::Mute(&other),
        Action::Change {
            kind: Kind::Edit,
            own: true,
            author: None,
            at: Timestamp(0),
            windows: ChangeWindows::OPEN,
        },
    ];
    for action in actions {
        assert_eq!(verdict(action, None), Err(ErrorCode::NotFound));
        assert_eq!(verdict(action, Some(&left)), Err(ErrorCode::NotMember));
    }
    assert_eq!(verdict(Action::Pull, None), Err(ErrorCode::NotFound));
    assert_eq!(verdict(Action::Pull, Some(&left)), Ok(()));
}

#[test]
fn roles_as_a_table() {
    use ErrorCode::{Conflict, Forbidden};
    let all = [Role::Member, Role::Admin, Role::Owner];
    for actor in all {
        let me = member("me", actor);
        let add = if actor >= Role::Admin {
            Ok(())
        } else {
            Err(Forbidden)
        };
        assert_eq!(verdict(Action::Add, Some(&me)), add);
        for of in all {
            let target = member("it", of);
            let on = if actor >= Role::Admin && actor > of {
                Ok(())
            } else {
                Err(Forbidden)
            };
            assert_eq!(
                verdict(Action::Remove(&target), Some(&me)),
                on,
                "{actor:?} {of:?}"
            );
            assert_eq!(verdict(Action::Mute(&target), Some(&me)), on);
            for role in all {
                let give = if actor == Role::Owner {
                    Ok(())
                } else {
                    Err(Forbidden)
                };
                assert_eq!(
                    verdict(
                        Action::SetRole {
                            target: &target,
                            role
                        },
                        Some(&me)
                    ),
                    give
                );
            }
        }
        assert_eq!(verdict(Action::Remove(&me), Some(&me)), Err(Forbidden));
    }
    let owner = member("me", Role::Owner);
    assert_eq!(
        verdict(
            Action::SetRole {
                target: &owner,
                role: Role::Member
            },
            Some(&owner)
        ),
        Err(Conflict)
    );
    assert_eq!(
        verdict(Action::Leave { member_count: 2 }, Some(&owner)),
        Err(Conflict)
    );
    assert_eq!(
        verdict(Action::Leave { member_count: 1 }, Some(&owner)),
        Ok(())
    );
}

#[test]
fn no_client_writes_what_only_the_server_writes() {
    let owner = member("me", Role::Owner);
    for kind in Kind::ALL {
        let expected = match kind.family() {
            Family::Server => Err(ErrorCode::Forbidden),
            Family::Say | Family::Change => Ok(()),
        };
        assert_eq!(verdict(Action::Send(*kind), Some(&owner)), expected);
    }
}

#[test]
fn the_muted_may_try_again_when_it_ends() {
    let mut me = member("me", Role::Member);
    me.muted_until = Some(Timestamp(25));
    let view = |now| ActorView {
        kind: ConversationKind::Group,
        speaks: Role::Member,
        rights: Rights::DEFAULT,
        member: Some(&me),
        barrier: Barrier::None,
        now: Timestamp(now),
    };
    let refused = authorize(Action::Send(Kind::Text), view(10)).unwrap_err();
    assert_eq!(
        (refused.code, refused.retry_after_ms),
        (ErrorCode::Muted, Some(15))
    );
    assert!(authorize(Action::Send(Kind::Text), view(25)).is_ok());
}

#[test]
fn a_block_refuses_in_direct_and_not_in_groups() {
    let me = member("me", Role::Member);
    for (kind, ok) in [
        (ConversationKind::Direct, false),
        (ConversationKind::Group, true),
    ] {
        let view = ActorView {
            kind,
            speaks: Role::Member,
            rights: Rights::DEFAULT,
            member: Some(&me),
            barrier: Barrier::Blocked,
            now: Timestamp(0),
        };
        assert_eq!(authorize(Action::Send(Kind::Text), view).is_ok(), ok);
    }
}

#[test]
fn what_keeps_from_sending_keeps_from_changing() {
    let refusal = |kind, conversation, me: &Member, blocked| {
        let view = ActorView {
            kind: conversation,
            speaks: Role::Member,
            rights: Rights::DEFAULT,
            member: Some(me),
            barrier: if blocked {
                Barrier::Blocked
            } else {
                Barrier::None
            },
            now: Timestamp(10),
        };
        let own = true;
        let author = None;
        let at = Timestamp(0);
        let windows = ChangeWindows::OPEN;
        let change = Action::Change {
            kind,
            own,
            author,
            at,
            windows,
        };
        let verdict = authorize(change, view);
        verdict.map_err(|failure| failure.code)
    };
    use ConversationKind::{Direct, Group};
    let mut me = member("me", Role::Member);
    for kind in [Kind::Edit, Kind::Recall, Kind::React] {
        assert_eq!(refusal(kind, Group, &me, false), Ok(()));
        let blocked = refusal(kind, Direct, &me, true);
        assert_eq!(blocked, Err(ErrorCode::Blocked));
    }
    let pin = refusal(Kind::Pin, Group, &me, false);
    assert_eq!(pin, Err(ErrorCode::Forbidden));
    assert_eq!(refusal(Kind::Pin, Direct, &me, false), Ok(()));
    me.muted_until = Some(Timestamp(25));
    for kind in [Kind::Edit, Kind::Recall, Kind::React] {
        assert_eq!(refusal(kind, Group, &me, false), Err(ErrorCode::Muted));
    }
}

#[test]
fn in_a_channel_few_write_and_all_react() {
    for (role, may) in [
        (Role::Member, false),
        (Role::Admin, true),
        (Role::Owner, true),
    ] {
        let me = member("me", role);
        let view = ActorView {
            kind: ConversationKind::Channel,
            speaks: Role::Admin,
            rights: Rights::DEFAULT,
            member: Some(&me),
            barrier: Barrier::None,
            now: Timestamp(0),
        };
        for kind in [Kind::Text, Kind::Edit, Kind::Pin] {
            let verdict = authorize(Action::Send(kind), view);
            assert_eq!(verdict.is_ok(), may, "{role:?} {kind:?}");
        }
        assert!(authorize(Action::Send(Kind::React), view).is_ok());
    }
}

#[test]
fn in_direct_nobody_is_above() {
    let (me, other) = (member("me", Role::Owner), member("o", Role::Member));
    let view = ActorView {
        kind: ConversationKind::Direct,
        speaks: Role::Member,
        rights: Rights::DEFAULT,
        member: Some(&me),
        barrier: Barrier::None,
        now: Timestamp(0),
    };
    let recall = Action::Change {
        kind: Kind::Recall,
        own: false,
        author: Some(&other),
        at: Timestamp(0),
        windows: ChangeWindows::OPEN,
    };
    assert!(authorize(recall, view).is_err());
}

#[test]
fn entries_of_others_are_recalled_from_above_only() {
    let (me, admin) = (member("me", Role::Member), member("a", Role::Admin));
    let change = |kind, own, author| Action::Change {
        kind,
        own,
        author,
        at: Timestamp(0),
        windows: ChangeWindows::OPEN,
    };
    let edit = change(Kind::Edit, false, Some(&me));
    assert_eq!(verdict(edit, Some(&admin)), Err(ErrorCode::Forbidden));
    assert_eq!(
        verdict(change(Kind::Recall, false, Some(&me)), Some(&admin)),
        Ok(())
    );
    assert_eq!(
        verdict(change(Kind::Recall, false, Some(&admin)), Some(&me)),
        Err(ErrorCode::Forbidden)
    );
    assert_eq!(
        verdict(change(Kind::Edit, true, Some(&me)), Some(&me)),
        Ok(())
    );
}

#[test]
fn a_change_comes_in_time_or_from_above() {
    let windows = ChangeWindows {
        edit_ms: Some(10),
        admin_edit_ms: Some(20),
        recall_ms: Some(5),
    };
    let (low, high) = (member("me", Role::Member), member("me", Role::Admin));
    let verdict = |kind, me: &Member, own, now| {
        let view = ActorView {
            kind: ConversationKind::Group,
            speaks: Role::Member,
            rights: Rights::DEFAULT,
            member: Some(me),
            barrier: Barrier::None,
            now: Timestamp(now),
        };
        let change = Action::Change {
            kind,
            own,
            author: Some(&low),
            at: Timestamp(100),
            windows,
        };
        authorize(change, view).is_ok()
    };
    for (kind, me, own, last) in [
        (Kind::Edit, &low, true, Some(110)),
        (Kind::Edit, &high, true, Some(120)),
        (Kind::Recall, &low, true, Some(105)),
        (Kind::Recall, &high, true, None),
        (Kind::Recall, &high, false, None),
        (Kind::React, &low, false, None),
    ] {
        assert!(
            verdict(kind, me, own, last.unwrap_or(1_000_000)),
            "{kind:?}"
        );
        if let Some(last) = last {
            assert!(!verdict(kind, me, own, last + 1), "{kind:?}");
        }
    }
}

#[test]
fn where_only_admins_speak_members_still_react_and_take_back() {
    let (low, high) = (member("me", Role::Member), member("me", Role::Admin));
    for (me, may) in [(&low, false), (&high, true)] {
        let view = ActorView {
            kind: ConversationKind::Group,
            speaks: Role::Admin,
            rights: Rights::DEFAULT,
            member: Some(me),
            barrier: Barrier::None,
            now: Timestamp(0),
        };
        for kind in [Kind::Text, Kind::Edit] {
            assert_eq!(authorize(Action::Send(kind), view).is_ok(), may);
        }
        for kind in [Kind::React, Kind::Recall] {
            assert!(authorize(Action::Send(kind), view).is_ok());
        }
    }
}

#[test]
fn a_stranger_joins_what_is_open_and_learns_nothing_of_the_rest() {
    let mut left = member("me", Role::Owner);
    left.left_seq = Some(Seq(5));
    let is_in = member("me", Role::Member);
    for (kind, joined) in [
        (ConversationKind::Group, true),
        (ConversationKind::Channel, true),
        (ConversationKind::Direct, false),
        (ConversationKind::Desk, false),
    ] {
        let join = |open, member| {
            let banned = false;
            let view = ActorView {
                kind,
                speaks: Role::Member,
                rights: Rights::DEFAULT,
                member,
                barrier: Barrier::None,
                now: Timestamp(0),
            };
            authorize(Action::Join { open, banned }, view).map_err(|failure| failure.code)
        };
        let open = |refused| if joined { Ok(()) } else { Err(refused) };
        assert_eq!(join(true, None), open(ErrorCode::NotFound));
        assert_eq!(join(true, Some(&left)), open(ErrorCode::Forbidden));
        assert_eq!(join(false, None), Err(ErrorCode::NotFound));
        assert_eq!(join(false, Some(&left)), Err(ErrorCode::Forbidden));
        assert_eq!(join(false, Some(&is_in)), Ok(()));
    }
}

#[test]
fn the_rules_are_set_by_admins_and_the_owner() {
    for (role, may) in [
        (Role::Member, false),
        (Role::Admin, true),
        (Role::Owner, true),
    ] {
        assert_eq!(
            verdict(Action::Configure, Some(&member("me", role))).is_ok(),
            may
        );
    }
}

#[test]
fn the_audit_log_is_nobodys_whatever_its_rows_say() {
    let (owner, other) = (member("me", Role::Owner), member("o", Role::Member));
    for action in [
        Action::Send(Kind::Text),
        Action::Send(Kind::Recall),
        Action::Pull,
        Action::See,
        Action::Add,
        Action::Remove(&other),
        Action::Join {
            open: true,
            banned: false,
        },
        Action::Configure,
        Action::Leave { member_count: 2 },
        Action::SetRole {
            target: &other,
            role: Role::Admin,
        },
        Action::Mute(&other),
        Action::Change {
            kind: Kind::Recall,
            own: true,
            author: None,
            at: Timestamp(0),
            windows: ChangeWindows::OPEN,
        },
    ] {
        for member in [None, Some(&other), Some(&owner)] {
            let view = ActorView {
                kind: ConversationKind::Audit,
                speaks: Role::Member,
                rights: Rights::DEFAULT,
                member,
                barrier: Barrier::None,
                now: Timestamp(0),
            };
            let refused = authorize(action, view).map_err(|failure| failure.code);
            assert_eq!(refused, Err(ErrorCode::NotFound), "{action:?}");
        }
    }
}
