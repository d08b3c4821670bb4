//! What a `member` entry tells: written by the service, read by every room.

use crate::model::{Body, Kind, Role, Timestamp, UserId, Value};

/// What happened to members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberEventOp {
    /// They came by themselves.
    Join,
    /// Somebody added them.
    Add,
    /// They went by themselves.
    Leave,
    /// Somebody removed them.
    Remove,
    /// They got a role.
    Role(Role),
    /// They can't speak until then; `None`: they can again.
    Mute(Option<Timestamp>),
}

/// The content of a `member` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEvent {
    /// What happened.
    pub op: MemberEventOp,
    /// To whom.
    pub users: Vec<UserId>,
}

impl MemberEvent {
    /// The body of the entry.
    #[must_use]
    pub fn to_body(&self) -> Body {
        let users: Vec<Value> = self.users.iter().map(|user| user.as_str().into()).collect();
        let (op, extra) = match self.op {
            MemberEventOp::Join => ("join", None),
            MemberEventOp::Add => ("add", None),
            MemberEventOp::Leave => ("leave", None),
            MemberEventOp::Remove => ("remove", None),
            MemberEventOp::Role(role) => ("role", Some(("role", role.as_str().into()))),
            MemberEventOp::Mute(until) => (
                "mute",
                Some(("until", until.map_or(Value::Null, |until| until.0.into()))),
            ),
        };
        let fields = [("op", op.into()), ("users", users.into())]
            .into_iter()
            .chain(extra);
        Body::of(Kind::Member, fields)
    }

    /// Reads the body of an entry; `None` when it is no `member` entry.
    #[must_use]
    pub fn of(body: &Body) -> Option<Self> {
        if body.kind() != Kind::Member {
            return None;
        }
        let value = body.value();
        let op = match value.get("op")?.as_text()? {
            "join" => MemberEventOp::Join,
            "add" => MemberEventOp::Add,
            "leave" => MemberEventOp::Leave,
            "remove" => MemberEventOp::Remove,
            "role" => MemberEventOp::Role(Role::parse(value.get("role")?.as_text()?)?),
            "mute" => {
                MemberEventOp::Mute(value.get("until").and_then(Value::as_int).map(Timestamp))
            }
            _ => return None,
        };
        let Value::Array(users) = value.get("users")? else {
            return None;
        };
        let users = users
            .iter()
            .filter_map(|user| user.as_text()?.parse().ok())
            .collect();
        Some(Self { op, users })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let users = vec![UserId::new("a").unwrap(), UserId::new("b").unwrap()];
        for op in [
            MemberEventOp::Join,
            MemberEventOp::Add,
            MemberEventOp::Leave,
            MemberEventOp::Remove,
            MemberEventOp::Role(Role::Admin),
            MemberEventOp::Mute(Some(Timestamp(7))),
            MemberEventOp::Mute(None),
        ] {
            let event = MemberEvent {
                op,
                users: users.clone(),
            };
            assert_eq!(MemberEvent::of(&event.to_body()), Some(event));
        }
        assert_eq!(MemberEvent::of(&Body::text("x")), None);
    }
}
