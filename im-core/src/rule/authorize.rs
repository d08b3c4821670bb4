//! The one decision about permission. Every door calls it; what no row allows is refused.

use crate::frame::{ErrorCode, Failure};
use crate::model::{Conversation, ConversationKind, Family, Kind, Member, Role, Timestamp};

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
        /// When it was written.
        at: Timestamp,
        /// How long it may be changed.
        windows: ChangeWindows,
    },
    /// Read the log, up to what one may see.
    Pull,
    /// See the conversation, its members; move one's own cursors; say that one is typing.
    See,
    /// Add members.
    Add,
    /// Remove a member.
    Remove(&'a Member),
    /// Come in by oneself.
    Join {
        /// Whether anybody may.
        open: bool,
    },
    /// Set the title, who may speak, what those who join see, and who may join.
    Configure,
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

/// How long after it was stored an entry may be changed, in milliseconds; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeWindows {
    /// Edited by its author, who is a member.
    pub edit_ms: Option<u64>,
    /// Edited by its author, who is an admin or the owner.
    pub admin_edit_ms: Option<u64>,
    /// Recalled by its author, who is a member. Admins and owners recall at any time.
    pub recall_ms: Option<u64>,
}

impl Default for ChangeWindows {
    /// Two days for both, near to what people know from messengers (`docs/protocol.md`); admins
    /// edit at any time.
    fn default() -> Self {
        const TWO_DAYS_MS: u64 = 48 * 3_600 * 1_000;
        Self {
            edit_ms: Some(TWO_DAYS_MS),
            admin_edit_ms: None,
            recall_ms: Some(TWO_DAYS_MS),
        }
    }
}

impl ChangeWindows {
    /// No end to any.
    pub const OPEN: Self = Self {
        edit_ms: None,
        admin_edit_ms: None,
        recall_ms: None,
    };

    const fn of(&self, kind: Kind, role: Role) -> Option<u64> {
        match (kind, role) {
            (Kind::Edit, Role::Member) => self.edit_ms,
            (Kind::Edit, _) => self.admin_edit_ms,
            (Kind::Recall, Role::Member) => self.recall_ms,
            _ => None,
        }
    }
}

/// What stands between the two users of a direct conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// Nothing.
    None,
    /// Either side blocks the other.
    Blocked,
    /// They are no friends, and only friends write to each other here.
    Strangers,
}

impl Barrier {
    /// May one write to the other?
    ///
    /// # Errors
    /// The refusal as the client gets it.
    pub fn check(self) -> Result<(), Failure> {
        match self {
            Self::None => Ok(()),
            Self::Blocked => refuse(ErrorCode::Blocked, "one of you blocks the other"),
            Self::Strangers => refuse(ErrorCode::Forbidden, "you are no friends"),
        }
    }
}

/// What the decision is made on.
#[derive(Debug, Clone, Copy)]
pub struct ActorView<'a> {
    /// What the conversation is.
    pub kind: ConversationKind,
    /// The least role that may say something in it.
    pub speaks: Role,
    /// The actor's place in it; `None` for a stranger.
    pub member: Option<&'a Member>,
    /// In a direct conversation: what stands between the two.
    pub barrier: Barrier,
    /// The time.
    pub now: Timestamp,
}

impl<'a> ActorView<'a> {
    /// Of a conversation and the actor's place in it; nothing stands between two.
    #[must_use]
    pub const fn of(there: &Conversation, member: Option<&'a Member>, now: Timestamp) -> Self {
        Self {
            kind: there.kind,
            speaks: there.speaks,
            member,
            barrier: Barrier::None,
            now,
        }
    }
}

/// May the actor do it?
///
/// # Errors
/// The refusal as the client gets it.
pub fn authorize(action: Action<'_>, view: ActorView<'_>) -> Result<(), Failure> {
    if view.kind == ConversationKind::Audit {
        // Whatever its rows say: this log is read and written by no one's methods but the staff's.
        return refuse(ErrorCode::NotFound, "no such conversation");
    }
    if let Action::Join { open } = action {
        return may_join(open, view);
    }
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
        Action::Change {
            kind,
            own,
            author,
            at,
            windows,
        } => {
            may_send(kind, member, view)?;
            may_change(kind, own, author, member, view.kind)?;
            in_time(windows.of(kind, member.role).filter(|_| own), at, view.now)
        }
        _ if view.kind == ConversationKind::Direct => {
            refuse(ErrorCode::Forbidden, "a direct conversation has no roles")
        }
        Action::Add | Action::Configure if member.role >= Role::Admin => Ok(()),
        Action::Remove(target) | Action::Mute(target) => may_act_on(member, target),
        Action::Leave { member_count } => {
            if member.role == Role::Owner && member_count > 1 {
                refuse(ErrorCode::Conflict, "make somebody else the owner first")
            } else {
                Ok(())
            }
        }
        Action::SetRole { target, role } => may_set_role(member, target, role),
        Action::Add | Action::Configure | Action::Join { .. } => {
            refuse(ErrorCode::Forbidden, "only admins and the owner may")
        }
    }
}

fn may_join(open: bool, view: ActorView<'_>) -> Result<(), Failure> {
    let is_joined = matches!(
        view.kind,
        ConversationKind::Group | ConversationKind::Channel
    );
    match view.member {
        Some(member) if member.is_in() => Ok(()),
        _ if is_joined && open => Ok(()),
        Some(_) => refuse(ErrorCode::Forbidden, "by invitation only"),
        None => refuse(ErrorCode::NotFound, "no such conversation"),
    }
}

fn may_send(kind: Kind, member: &Member, view: ActorView<'_>) -> Result<(), Failure> {
    if kind.family() == Family::Server {
        return refuse(ErrorCode::Forbidden, "only the server writes this kind");
    }
    if view.kind == ConversationKind::Direct {
        view.barrier.check()?;
    }
    // What is one's own may be taken back also by who may no longer speak.
    if !matches!(kind, Kind::React | Kind::Recall) && member.role < view.speaks {
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

/// Whether what was stored `at` may still be changed.
fn in_time(window_ms: Option<u64>, at: Timestamp, now: Timestamp) -> Result<(), Failure> {
    match window_ms {
        Some(ms) if now > at.plus_ms(ms) => refuse(ErrorCode::Forbidden, "it is too old for that"),
        _ => Ok(()),
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
mod tests;
