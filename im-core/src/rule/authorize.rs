//! The one decision about permission. Every door calls it; what no row allows is refused.

use crate::frame::{ErrorCode, Failure};
use crate::model::{ConversationKind, Family, Kind, Member, Role, Timestamp};

/// What somebody wants to do in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Say something, or change an earlier entry.
    Send(Kind),
    /// Change another's entry in a way that only its author may (`edit`), or also those above
    /// (`recall`): `author` is who wrote it, as a member now or before. What keeps from sending
    /// that kind keeps from this too.
    Change {
        /// The change.
        kind: Kind,
        /// Whether the actor wrote the entry.
        own: bool,
        /// The author's place here, if there is one.
        author: Option<&'a Member>,
    },
    /// Read the log, up to what one may see.
    Pull,
    /// See the conversation, its members; move one's own cursors; say that one is typing.
    See,
    /// Add members.
    Add,
    /// Remove a member.
    Remove(&'a Member),
    /// Leave.
    Leave {
        /// How many members there are.
        member_count: u32,
    },
    /// Give a role.
    SetRole {
        /// To whom.
        target: &'a Member,
        /// Which.
        role: Role,
    },
    /// Keep a member from speaking.
    Mute(&'a Member),
}

/// What the decision is made on.
#[derive(Debug, Clone, Copy)]
pub struct ActorView<'a> {
    /// What the conversation is.
    pub kind: ConversationKind,
    /// The actor's place in it; `None` for a stranger.
    pub member: Option<&'a Member>,
    /// In a direct conversation: either side blocks the other.
    pub blocked: bool,
    /// The time.
    pub now: Timestamp,
}

/// May the actor do it?
///
/// # Errors
/// The refusal as the client gets it.
pub fn authorize(action: Action<'_>, view: ActorView<'_>) -> Result<(), Failure> {
    let Some(member) = view.member else {
        return refuse(ErrorCode::NotFound, "no such conversation");
    };
    if !member.is_in() {
        // What they saw as a member stays theirs to read, up to their removal.
        return match action {
            Action::Pull => Ok(()),
            _ => refuse(ErrorCode::NotMember, "you are no longer a member"),
        };
    }
    match action {
        Action::Pull | Action::See => Ok(()),
        Action::Send(kind) => may_send(kind, member, view),
        Action::Change { kind, own, author } => {
            may_send(kind, member, view)?;
            may_change(kind, own, author, member, view.kind)
        }
        _ if view.kind == ConversationKind::Direct => {
            refuse(ErrorCode::Forbidden, "a direct conversation has no roles")
        }
        Action::Add if member.role >= Role::Admin => Ok(()),
        Action::Remove(target) | Action::Mute(target) => may_act_on(member, target),
        Action::Leave { member_count } => {
            if member.role == Role::Owner && member_count > 1 {
                refuse(ErrorCode::Conflict, "make somebody else the owner first")
            } else {
                Ok(())
            }
        }
        Action::SetRole { target, role } => may_set_role(member, target, role),
        Action::Add => refuse(ErrorCode::Forbidden, "only admins and the owner may"),
    }
}

fn may_send(kind: Kind, member: &Member, view: ActorView<'_>) -> Result<(), Failure> {
    if kind.family() == Family::Server {
        return refuse(ErrorCode::Forbidden, "only the server writes this kind");
    }
    if view.kind == ConversationKind::Direct && view.blocked {
        return refuse(ErrorCode::Blocked, "one of you blocks the other");
    }
    if view.kind == ConversationKind::Channel && kind != Kind::React && member.role < Role::Admin {
        return refuse(ErrorCode::Forbidden, "only admins and the owner write here");
    }
    if let Some(until) = member.muted_until.filter(|until| *until > view.now) {
        let left_ms = until.0.saturating_sub(view.now.0).unsigned_abs();
        return Err(Failure::retry(ErrorCode::Muted, "you are muted", left_ms));
    }
    if kind == Kind::Pin && view.kind != ConversationKind::Direct && member.role < Role::Admin {
        return refuse(ErrorCode::Forbidden, "only admins and the owner pin");
    }
    Ok(())
}

fn may_change(
    kind: Kind,
    own: bool,
    author: Option<&Member>,
    member: &Member,
    conversation: ConversationKind,
) -> Result<(), Failure> {
    let above = conversation != ConversationKind::Direct
        && author.is_none_or(|author| author.role < member.role);
    match kind {
        Kind::React | Kind::Pin => Ok(()),
        Kind::Edit | Kind::Recall if own => Ok(()),
        Kind::Recall if member.role >= Role::Admin && above => Ok(()),
        _ => refuse(ErrorCode::Forbidden, "it is not yours"),
    }
}

fn may_act_on(member: &Member, target: &Member) -> Result<(), Failure> {
    if member.user == target.user {
        return refuse(ErrorCode::Forbidden, "not on yourself");
    }
    if !target.is_in() {
        return refuse(ErrorCode::NotFound, "no such member");
    }
    if member.role >= Role::Admin && member.role > target.role {
        return Ok(());
    }
    refuse(ErrorCode::Forbidden, "only those above may")
}

fn may_set_role(member: &Member, target: &Member, role: Role) -> Result<(), Failure> {
    if member.role != Role::Owner {
        return refuse(ErrorCode::Forbidden, "only the owner gives roles");
    }
    if !target.is_in() {
        return refuse(ErrorCode::NotFound, "no such member");
    }
    if member.user == target.user && role != Role::Owner {
        return refuse(ErrorCode::Conflict, "make somebody else the owner instead");
    }
    Ok(())
}

fn refuse(code: ErrorCode, message: &str) -> Result<(), Failure> {
    Err(Failure::new(code, message))
}

#[cfg(test)]
mod tests {
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
            member,
            blocked: false,
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
            member: Some(&me),
            blocked: false,
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
                member: Some(&me),
                blocked: true,
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
                member: Some(me),
                blocked,
                now: Timestamp(10),
            };
            let own = true;
            let author = None;
            let verdict = authorize(Action::Change { kind, own, author }, view);
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
                member: Some(&me),
                blocked: false,
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
            member: Some(&me),
            blocked: false,
            now: Timestamp(0),
        };
        let recall = Action::Change {
            kind: Kind::Recall,
            own: false,
            author: Some(&other),
        };
        assert!(authorize(recall, view).is_err());
    }

    #[test]
    fn entries_of_others_are_recalled_from_above_only() {
        let (me, admin) = (member("me", Role::Member), member("a", Role::Admin));
        let change = |kind, own, author| Action::Change { kind, own, author };
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
}
