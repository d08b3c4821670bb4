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
    /// See the conversation; move one's own cursors; say that one is typing.
    See,
    /// See who is in it. Subscribers of a channel don't see each other.
    SeeMembers,
    /// Mention everybody, beside sending.
    MentionAll,
    /// Add members, or make a link by which they come in.
    Add,
    /// Remove a member.
    Remove(&'a Member),
    /// Keep somebody from coming in again: a member, or `None` for one who is not in.
    Ban(Option<&'a Member>),
    /// Come in by oneself, or ask to.
    Join {
        /// Whether anybody may, or this one was given a link.
        open: bool,
        /// Whether this one was told not to come in again.
        banned: bool,
    },
    /// Set title, picture and description.
    SetInfo,
    /// Set who may do what: speak, join, see the history, and the [`Rights`].
    Configure,
    /// Answer those who ask to come in, see links and bans, and end these.
    Admit,
    /// Make an announcement, or end it.
    Announce,
    /// Say what a member is called here.
    SetNick(&'a Member),
    /// End it for everybody.
    Disband,
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

/// The least role that may do what is not for everybody, as a group or channel sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Add members, and make links by which they come in.
    pub add: Role,
    /// Set title, picture and description.
    pub info: Role,
    /// Pin messages.
    pub pin: Role,
    /// Mention everybody.
    pub mention_all: Role,
}

impl Rights {
    /// All for admins and the owner.
    pub const DEFAULT: Self = Self {
        add: Role::Admin,
        info: Role::Admin,
        pin: Role::Admin,
        mention_all: Role::Admin,
    };
}

impl Default for Rights {
    fn default() -> Self {
        Self::DEFAULT
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
    /// The least roles for the rest. What the action does not ask for need not be known.
    pub rights: Rights,
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
            rights: Rights::DEFAULT,
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
    if let Action::Join { open, banned } = action {
        return may_join(open, banned, view);
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
    if let Action::Pull | Action::See = action {
        return Ok(());
    }
    // Who is in what was disbanded may look back, and go.
    let is_ended = view.speaks == Role::Nobody;
    if is_ended && !matches!(action, Action::SeeMembers | Action::Leave { .. }) {
        return refuse(ErrorCode::Forbidden, "it was disbanded");
    }
    match action {
        Action::Pull | Action::See => Ok(()),
        Action::SeeMembers if view.kind == ConversationKind::Channel => {
            at_least(Role::Admin, member)
        }
        Action::SeeMembers => Ok(()),
        Action::MentionAll if view.kind == ConversationKind::Direct => Ok(()),
        Action::MentionAll => at_least(view.rights.mention_all, member),
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
        Action::Add => at_least(view.rights.add, member),
        Action::SetInfo => at_least(view.rights.info, member),
        Action::Configure | Action::Admit | Action::Ban(None) => at_least(Role::Admin, member),
        Action::Announce => {
            at_least(view.speaks.max(Role::Admin), member)?;
            not_muted(member, view)
        }
        Action::Disband => at_least(Role::Owner, member),
        Action::SetNick(target) if target.user == member.user => Ok(()),
        Action::Remove(target)
        | Action::Mute(target)
        | Action::Ban(Some(target))
        | Action::SetNick(target) => may_act_on(member, target),
        Action::Leave { member_count } => {
            if member.role == Role::Owner && member_count > 1 && !is_ended {
                refuse(ErrorCode::Conflict, "make somebody else the owner first")
            } else {
                Ok(())
            }
        }
        Action::SetRole { target, role } => may_set_role(member, target, role),
        Action::Join { .. } => refuse(ErrorCode::NotFound, "no such conversation"),
    }
}

fn at_least(role: Role, member: &Member) -> Result<(), Failure> {
    if member.role >= role {
        return Ok(());
    }
    let words = match role {
        Role::Owner | Role::Nobody => "only the owner may",
        _ => "only admins and the owner may",
    };
    refuse(ErrorCode::Forbidden, words)
}

fn may_join(open: bool, banned: bool, view: ActorView<'_>) -> Result<(), Failure> {
    let open = open && view.kind.has_roles() && view.speaks != Role::Nobody;
    match view.member {
        Some(member) if member.is_in() => Ok(()),
        _ if open && banned => refuse(ErrorCode::Forbidden, "you may not come in again"),
        _ if open => Ok(()),
        Some(_) => refuse(ErrorCode::Forbidden, "by invitation only"),
        None => refuse(ErrorCode::NotFound, "no such conversation"),
    }
}

fn not_muted(member: &Member, view: ActorView<'_>) -> Result<(), Failure> {
    match member.muted_until.filter(|until| *until > view.now) {
        None => Ok(()),
        Some(until) => {
            let left_ms = until.0.saturating_sub(view.now.0).unsigned_abs();
            Err(Failure::retry(ErrorCode::Muted, "you are muted", left_ms))
        }
    }
}

fn may_send(kind: Kind, member: &Member, view: ActorView<'_>) -> Result<(), Failure> {
    if kind.family() == Family::Server {
        return refuse(ErrorCode::Forbidden, "only the server writes this kind");
    }
    if view.kind == ConversationKind::Direct {
        view.barrier.check()?;
    }
    if !may_speak(kind, member.role, view.speaks) {
        return refuse(ErrorCode::Forbidden, "only admins and the owner write here");
    }
    not_muted(member, view)?;
    if kind == Kind::Pin && view.kind != ConversationKind::Direct {
        return at_least(view.rights.pin, member);
    }
    Ok(())
}

/// Whether such a one may send that kind. What is one's own may be taken back also by who may no
/// longer speak, unless nobody may.
pub(super) fn may_speak(kind: Kind, role: Role, speaks: Role) -> bool {
    match kind {
        Kind::React | Kind::Recall => speaks != Role::Nobody,
        _ => role >= speaks,
    }
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
    if role == Role::Nobody {
        return refuse(ErrorCode::Forbidden, "nobody has that role");
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
mod table;
#[cfg(test)]
mod tests;
