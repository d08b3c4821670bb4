//! What the host program's own staff may do. Beside the roles in a conversation: these come with
//! the token, and no method gives them.

use crate::frame::{ErrorCode, Failure};
use crate::named::named;

named! {
    /// A role that a token gives (`roles`).
    pub enum StaffRole {
        /// Everything.
        Admin = "admin",
        /// Deals with what people say and report.
        Moderator = "moderator",
        /// Looks at what the others did, and changes nothing.
        Auditor = "auditor",
    }
}

impl StaffRole {
    const fn bit(self) -> u8 {
        match self {
            Self::Admin => 1,
            Self::Moderator => 2,
            Self::Auditor => 4,
        }
    }
}

/// The roles of one user; most have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Staff(u8);

impl Staff {
    /// No role.
    pub const NONE: Self = Self(0);

    /// Of the names in a token; those that are none of [`StaffRole`]'s are the embedder's own.
    #[must_use]
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let roles = names.into_iter().filter_map(StaffRole::parse);
        Self(roles.fold(0, |bits, role| bits | role.bit()))
    }

    /// As a number; [`from_bits`](Self::from_bits) reads it.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Of a number that [`bits`](Self::bits) gave; what it does not know counts for nothing.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 7)
    }

    /// Whether they have a role.
    #[must_use]
    pub const fn has(self, role: StaffRole) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether they have any.
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.0 != 0
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = StaffRole::ALL.iter().copied();
        all.filter(move |role| self.has(*role))
            .map(StaffRole::as_str)
    }
}

named! {
    /// What staff may be allowed to do.
    pub enum Power {
        /// Read the audit log.
        Audit = "audit",
        /// Ban, mute and kick users, and take that back; of whom, says [`may_act_on`].
        ActOnUsers = "act_on_users",
        /// Change the packs of stickers.
        ChangeStickers = "change_stickers",
        /// Change the list of words.
        ChangeWords = "change_words",
        /// Close a group or channel.
        Close = "close",
        /// Take logs out.
        Export = "export",
        /// Make, list and end keys of programs.
        Keys = "keys",
        /// Remove and mute members of groups.
        Members = "members",
        /// Recall messages, and decide on those that wait for it.
        Recall = "recall",
        /// Read and resolve what users reported.
        Reports = "reports",
        /// See groups, channels, and users.
        See = "see",
        /// Read logs, with what is personal in them masked.
        SeeMessages = "see_messages",
        /// See the list of words.
        SeeWords = "see_words",
        /// See the counts of days.
        Statistics = "statistics",
        /// Read messages as they are.
        Unmask = "unmask",
    }
}

/// May somebody with these roles? One role that may is enough.
///
/// # Errors
/// The refusal as the client gets it.
pub fn staff_may(staff: Staff, power: Power) -> Result<(), Failure> {
    let moderator = staff.has(StaffRole::Moderator);
    let auditor = staff.has(StaffRole::Auditor);
    let may = match power {
        _ if staff.has(StaffRole::Admin) => true,
        Power::ChangeStickers | Power::ChangeWords | Power::Close | Power::Keys | Power::Unmask => {
            false
        }
        Power::Audit | Power::Export => auditor,
        Power::ActOnUsers | Power::Members | Power::Recall | Power::Reports | Power::SeeWords => {
            moderator
        }
        Power::See | Power::SeeMessages | Power::Statistics => moderator || auditor,
    };
    if may {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Forbidden, "not with your roles"))
}

/// May somebody who may act on users act on this one? Nobody acts on themselves, and on staff only
/// admins do.
///
/// # Errors
/// The refusal as the client gets it.
pub fn may_act_on(actor: Staff, target: Staff, is_self: bool) -> Result<(), Failure> {
    let refuse = |words| Err(Failure::new(ErrorCode::Forbidden, words));
    if is_self {
        return refuse("not on yourself");
    }
    if target.is_any() && !actor.has(StaffRole::Admin) {
        return refuse("only admins act on staff");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &[&str] = &[];
    const ADMIN: &[&str] = &["admin"];
    const MODERATOR: &[&str] = &["moderator"];
    const AUDITOR: &[&str] = &["auditor"];

    fn staff(names: &[&str]) -> Staff {
        Staff::of(names.iter().copied())
    }

    #[test]
    fn powers_as_a_table() {
        // Of an admin, a moderator, an auditor.
        let table = [
            (Power::Audit, [true, false, true]),
            (Power::ActOnUsers, [true, true, false]),
            (Power::ChangeStickers, [true, false, false]),
            (Power::ChangeWords, [true, false, false]),
            (Power::Close, [true, false, false]),
            (Power::Export, [true, false, true]),
            (Power::Keys, [true, false, false]),
            (Power::Members, [true, true, false]),
            (Power::Recall, [true, true, false]),
            (Power::Reports, [true, true, false]),
            (Power::See, [true, true, true]),
            (Power::SeeMessages, [true, true, true]),
            (Power::SeeWords, [true, true, false]),
            (Power::Statistics, [true, true, true]),
            (Power::Unmask, [true, false, false]),
        ];
        assert_eq!(table.map(|(power, _)| power), *Power::ALL);
        for (power, expected) in table {
            let may = |names| staff_may(staff(names), power).is_ok();
            assert_eq!([ADMIN, MODERATOR, AUDITOR].map(may), expected, "{power:?}");
            assert!(!may(USER), "{power:?}");
            assert!(!may(&["Admin", "owner", "admin "]), "{power:?}");
            let both = may(&["moderator", "auditor"]);
            assert_eq!(both, expected[1] || expected[2], "{power:?}");
        }
    }

    #[test]
    fn who_acts_on_whom_as_a_table() {
        // On a user, an admin, a moderator, an auditor.
        for (actor, expected) in [
            (ADMIN, [true, true, true, true]),
            (MODERATOR, [true, false, false, false]),
        ] {
            let may = |target| may_act_on(staff(actor), staff(target), false).is_ok();
            let targets = [USER, ADMIN, MODERATOR, AUDITOR];
            assert_eq!(targets.map(may), expected, "{actor:?}");
            let self_too = targets.map(|target| may_act_on(staff(actor), staff(target), true));
            assert!(self_too.iter().all(Result::is_err), "{actor:?}");
        }
    }

    #[test]
    fn roles_are_read_back() {
        for names in [USER, ADMIN, MODERATOR, AUDITOR, &["admin", "auditor"]] {
            let staff = staff(names);
            assert_eq!(Staff::from_bits(staff.bits()), staff);
            assert_eq!(staff.names().collect::<Vec<_>>(), names);
        }
        assert!(!Staff::from_bits(8).is_any());
    }
}
