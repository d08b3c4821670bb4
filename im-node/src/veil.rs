//! Subscribers of a channel are not shown to each other: what tells of one of them is shown to
//! those who run the channel, and to that one.

use std::collections::BTreeSet;
use std::sync::Arc;

use im_core::model::{Body, ConversationKind, Entry, Kind, Member, Role, UserId, Value};

use crate::outgoing::OutEntry;

/// What an entry may tell of members to everybody: who runs the channel.
const OPEN_OPS: [&str; 2] = ["create", "role"];

/// The entry as a member of a conversation of that kind sees it, if that is another.
pub(crate) fn veiled(entry: &Entry, kind: ConversationKind, viewer: &Member) -> Option<Entry> {
    if kind != ConversationKind::Channel || viewer.role >= Role::Admin {
        return None;
    }
    veil(entry, Some(&viewer.user))
}

/// Without all whom it tells of but the viewer.
fn veil(entry: &Entry, viewer: Option<&UserId>) -> Option<Entry> {
    let (body, users) = named(entry)?;
    let viewer = viewer.map(UserId::as_str);
    let seen: Vec<&str> = users.iter().map(String::as_str).collect();
    let seen: Vec<&str> = seen
        .into_iter()
        .filter(|user| Some(*user) == viewer)
        .collect();
    let Value::Object(fields) = body else {
        return None;
    };
    let stays = |name: &str| name != "users" && (name != "nick" || !seen.is_empty());
    let fields = fields.into_iter().filter(|(name, _)| stays(name));
    let shown: Vec<Value> = seen.iter().map(|user| Value::from(*user)).collect();
    let body = Value::object(fields.chain([("users".into(), shown.into())]));
    let mut other = entry.clone();
    other.new.body = Body::new(&body).ok()?;
    // Who did it to themselves is whom it tells of. In their place stands the channel.
    let from = entry.from.as_str();
    if users == [from] && Some(from) != viewer {
        other.new.from = UserId::new(entry.conv.as_str()).ok()?;
    }
    (other != *entry).then_some(other)
}

/// The body of an entry that tells of members, and of whom, if not everybody may know.
fn named(entry: &Entry) -> Option<(Value, Vec<String>)> {
    if !matches!(entry.body.kind(), Kind::Member | Kind::Group) {
        return None;
    }
    let body = entry.body.value();
    let op = body.get("op").and_then(Value::as_text)?;
    let Some(Value::Array(users)) = body.get("users").filter(|_| !OPEN_OPS.contains(&op)) else {
        return None;
    };
    let users = users.iter().filter_map(Value::as_text).map(str::to_owned);
    let users = users.collect();
    Some((body, users))
}

/// A run of entries, as each of those who are here sees it.
pub(crate) struct Veil<'a> {
    run: &'a [Arc<OutEntry>],
    /// Of a channel: the run as those see it of whom it does not tell, and of whom it tells.
    hidden: Option<(Vec<Arc<OutEntry>>, BTreeSet<String>)>,
}

impl<'a> Veil<'a> {
    pub(crate) fn over(kind: ConversationKind, run: &'a [Arc<OutEntry>]) -> Self {
        let mut users = BTreeSet::new();
        if kind == ConversationKind::Channel {
            let named = run.iter().filter_map(|out| named(&out.entry));
            users.extend(named.flat_map(|(_, users)| users));
        }
        let hidden = (!users.is_empty()).then(|| (shown(run, None), users));
        Self { run, hidden }
    }

    /// What goes to a user, who has this role if their place is known.
    pub(crate) fn shown_to(&self, user: &UserId, role: Option<Role>) -> Shown<'_> {
        match &self.hidden {
            None => Shown::Same(self.run),
            Some(_) if role >= Some(Role::Admin) => Shown::Same(self.run),
            Some((_, users)) if users.contains(user.as_str()) => {
                Shown::Own(shown(self.run, Some(user)))
            }
            Some((others, _)) => Shown::Same(others),
        }
    }
}

/// What goes to one of them.
pub(crate) enum Shown<'a> {
    /// The same as to others.
    Same(&'a [Arc<OutEntry>]),
    /// What is theirs alone.
    Own(Vec<Arc<OutEntry>>),
}

impl std::ops::Deref for Shown<'_> {
    type Target = [Arc<OutEntry>];
    fn deref(&self) -> &Self::Target {
        match self {
            Self::Same(run) => run,
            Self::Own(run) => run,
        }
    }
}

fn shown(run: &[Arc<OutEntry>], viewer: Option<&UserId>) -> Vec<Arc<OutEntry>> {
    let show = |out: &Arc<OutEntry>| match veil(&out.entry, viewer) {
        Some(entry) => Arc::new(OutEntry::new(Arc::new(entry))),
        None => Arc::clone(out),
    };
    run.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use im_core::model::{ConversationId, Mentions, MessageId, NewEntry, Seq, Timestamp};

    use super::*;

    fn entry(from: &str, body: &str) -> Entry {
        let new = NewEntry {
            id: MessageId(1),
            from: UserId::new(from).unwrap(),
            at: Timestamp(1),
            cm_id: None,
            digest: 0,
            body: Body::new(&Value::from_json(body).unwrap()).unwrap(),
            reply_to: None,
            mentions: Mentions::None,
            expires_at: None,
        };
        new.at(ConversationId::new("c").unwrap(), Seq(1))
    }

    #[test]
    fn who_came_and_went_is_seen_by_themselves_and_those_above() {
        let table = [
            (
                entry("bo", r#"{"kind":"member","op":"join","users":["bo"]}"#),
                ("c", r#"{"kind":"member","op":"join","users":[]}"#),
                ("bo", r#"{"kind":"member","op":"join","users":["bo"]}"#),
            ),
            (
                entry(
                    "al",
                    r#"{"kind":"member","op":"remove","users":["bo","cy"]}"#,
                ),
                ("al", r#"{"kind":"member","op":"remove","users":[]}"#),
                ("al", r#"{"kind":"member","op":"remove","users":["bo"]}"#),
            ),
            (
                entry(
                    "bo",
                    r#"{"kind":"member","nick":"B","op":"nick","users":["bo"]}"#,
                ),
                ("c", r#"{"kind":"member","op":"nick","users":[]}"#),
                (
                    "bo",
                    r#"{"kind":"member","nick":"B","op":"nick","users":["bo"]}"#,
                ),
            ),
            (
                entry("al", r#"{"kind":"group","op":"ban","users":["bo"]}"#),
                ("al", r#"{"kind":"group","op":"ban","users":[]}"#),
                ("al", r#"{"kind":"group","op":"ban","users":["bo"]}"#),
            ),
        ];
        for (whole, others, own) in table {
            let run = [Arc::new(OutEntry::new(Arc::new(whole.clone())))];
            let over = Veil::over(ConversationKind::Channel, &run);
            let sees = |user: &str, role| {
                let shown = over.shown_to(&UserId::new(user).unwrap(), role);
                let entry = &shown[0].entry;
                (entry.from.to_string(), entry.body.json().to_string())
            };
            let told = |(from, body): (&str, &str)| (from.to_owned(), body.to_owned());
            assert_eq!(sees("dy", Some(Role::Member)), told(others));
            assert_eq!(sees("dy", None), told(others));
            assert_eq!(sees("bo", Some(Role::Member)), told(own));
            let all = (whole.from.to_string(), whole.body.json().to_string());
            assert_eq!(sees("dy", Some(Role::Admin)), all);
            let open = Veil::over(ConversationKind::Group, &run);
            let shown = open.shown_to(&UserId::new("dy").unwrap(), None);
            assert_eq!(*shown[0].entry, whole);
        }
    }

    #[test]
    fn what_is_said_and_who_runs_it_is_seen_by_all() {
        for body in [
            r#"{"kind":"text","text":"x","users":["bo"]}"#,
            r#"{"kind":"member","op":"role","role":"admin","users":["bo"]}"#,
            r#"{"kind":"group","op":"create","title":"C","users":["al"]}"#,
            r#"{"kind":"group","op":"set","title":"D"}"#,
        ] {
            assert_eq!(veil(&entry("al", body), None), None, "{body}");
        }
    }
}
