//! What a group or channel has set: one fact beside its log, changed only by commits that move the
//! conversation's version. So whoever decides on a version, and read this after it, decided on
//! both.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    ConversationId, ConversationKind, Fact, FactKey, FactTable, Role, UserId, Value,
};
use im_core::port::{Put, View, Was, Write};
use im_core::rule::Rights;

use super::facts::set;
use crate::node::Inner;

/// Admins of one conversation, its owner among them.
pub(super) const STAFF_MAX: usize = 50;

/// How one comes in by oneself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// By a link, or when somebody adds them.
    Invite,
    /// By asking, too.
    Approval,
    /// Anybody may.
    Open,
}

impl Door {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Approval => "approval",
            Self::Open => "open",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Invite, Self::Approval, Self::Open];
        all.into_iter().find(|door| door.as_str() == text)
    }
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) door: Door,
    pub(super) rights: Rights,
    pub(super) about: Option<String>,
    pub(super) picture: Option<String>,
    /// The most members, if it has set a bound of its own.
    pub(super) members_max: Option<u32>,
    /// The owner and the admins: who is told of requests.
    pub(super) staff: Vec<UserId>,
    /// Whether a channel is in the directory.
    pub(super) listed: bool,
    /// What a channel's announcements may be about.
    pub(super) topics: Vec<String>,
    /// What is stored.
    is: Option<String>,
}

pub(super) fn rules_key(conv: &ConversationId) -> FactKey {
    FactKey::new(FactTable::Rule, conv.as_str(), "")
}

/// Where one of the rights stands.
pub(super) type Right = fn(&mut Rights) -> &mut Role;

/// The names of the rights, and where each stands.
pub(super) const RIGHTS: [(&str, Right); 4] = [
    ("add", |rights| &mut rights.add),
    ("info", |rights| &mut rights.info),
    ("pin", |rights| &mut rights.pin),
    ("mention_all", |rights| &mut rights.mention_all),
];

impl Rules {
    /// Of a conversation that has set nothing.
    pub(super) const fn new() -> Self {
        Self {
            door: Door::Invite,
            rights: Rights::DEFAULT,
            about: None,
            picture: None,
            members_max: None,
            staff: Vec::new(),
            listed: false,
            topics: Vec::new(),
            is: None,
        }
    }

    fn of(fact: Fact) -> Self {
        let mut rules = Self::new();
        let value = Value::from_json(&fact.value).unwrap_or(Value::Null);
        let text = |field| value.get(field).and_then(Value::as_text);
        if let Some(door) = text("join").and_then(Door::parse) {
            rules.door = door;
        }
        for (name, right) in RIGHTS {
            let role = value.get("rights").and_then(|rights| rights.get(name));
            if let Some(role) = role.and_then(Value::as_text).and_then(Role::parse) {
                *right(&mut rules.rights) = role;
            }
        }
        rules.about = text("about").map(str::to_owned);
        rules.picture = text("picture").map(str::to_owned);
        let most = value.get("members_max").and_then(Value::as_int);
        rules.members_max = most.and_then(|most| u32::try_from(most).ok());
        rules.staff = texts(&value, "staff")
            .filter_map(|id| id.parse().ok())
            .collect();
        rules.listed = matches!(value.get("listed"), Some(Value::Bool(true)));
        rules.topics = texts(&value, "topics").map(str::to_owned).collect();
        rules.is = Some(fact.value);
        rules
    }

    fn to_json(&self) -> String {
        let ids: Vec<Value> = self.staff.iter().map(|id| id.as_str().into()).collect();
        let mut fields = self.shown();
        fields.push(("staff", ids.into()));
        Value::object(fields).to_json()
    }

    /// What members see of it.
    pub(super) fn shown(&self) -> Vec<(&'static str, Value)> {
        let mut rights = self.rights;
        let rights = RIGHTS.map(|(name, right)| (name, Value::from(right(&mut rights).as_str())));
        let mut fields = vec![
            ("join", Value::from(self.door.as_str())),
            ("rights", Value::object(rights)),
        ];
        let texts = [("about", &self.about), ("picture", &self.picture)];
        for (name, text) in texts {
            fields.extend(text.as_ref().map(|text| (name, text.as_str().into())));
        }
        fields.extend(
            self.members_max
                .map(|most| ("members_max", u64::from(most).into())),
        );
        if self.listed {
            fields.push(("listed", true.into()));
        }
        if !self.topics.is_empty() {
            let topics = self.topics.iter().map(|topic| topic.as_str().into());
            fields.push(("topics", topics.collect::<Vec<Value>>().into()));
        }
        fields
    }

    /// Sets it, in a commit that moves the version.
    pub(super) fn put(&self, conv: &ConversationId) -> Write {
        set(rules_key(conv), self.to_json())
    }

    /// On the condition that it is still so, for a commit that doesn't.
    pub(super) fn same(&self, conv: &ConversationId) -> Write {
        Write::Put(Put {
            key: rules_key(conv),
            to: self.is.clone().map(|is| (is, None)),
            was: self.is.clone().map_or(Was::Absent, Was::Value),
        })
    }

    /// What is set when a user's role becomes this one, or they go (`None`); nothing when it stays.
    pub(super) fn staffed(&self, user: &UserId, role: Option<Role>) -> Option<Self> {
        let mut rules = self.clone();
        rules.staff.retain(|one| one != user);
        if role.is_some_and(|role| role >= Role::Admin) {
            rules.staff.push(user.clone());
            rules.staff.sort_unstable();
        }
        (rules.staff != self.staff).then_some(rules)
    }
}

fn texts<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    let items = match value.get(field) {
        Some(Value::Array(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter().filter_map(Value::as_text)
}

impl Inner {
    /// What a conversation has set.
    pub(super) async fn rules(&self, conv: &ConversationId) -> Result<Rules, Failure> {
        let fact = self.fact(&rules_key(conv)).await?;
        Ok(fact.map_or_else(Rules::new, Rules::of))
    }

    /// Refuses more members than there may be.
    pub(super) fn has_seats(&self, view: &View, rules: &Rules, more: usize) -> Result<(), Failure> {
        let most = self.members_max(view.conversation.kind);
        let most = rules.members_max.unwrap_or(most).min(most);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if view.conversation.member_count.saturating_add(more) > most {
            return Err(Failure::new(ErrorCode::Conflict, "it is full"));
        }
        Ok(())
    }

    /// The most members that one of that kind may have here.
    pub(super) const fn members_max(&self, kind: ConversationKind) -> u32 {
        match kind {
            ConversationKind::Channel => self.settings.channel_members_max,
            _ => self.settings.group_members_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let conv = ConversationId::new("g").unwrap();
        let user = |id: &str| UserId::new(id).unwrap();
        let mut rules = Rules::new();
        for full in [false, true] {
            if full {
                rules = Rules {
                    door: Door::Approval,
                    rights: Rights {
                        add: Role::Member,
                        info: Role::Owner,
                        pin: Role::Member,
                        mention_all: Role::Owner,
                    },
                    about: Some("a\nb".to_owned()),
                    picture: Some("https://x".to_owned()),
                    members_max: Some(7),
                    staff: vec![user("a"), user("b")],
                    listed: true,
                    topics: vec!["x".to_owned()],
                    is: None,
                };
            }
            let Write::Put(put) = rules.put(&conv) else {
                panic!("no fact");
            };
            let (value, at) = put.to.unwrap();
            let key = put.key;
            let read = Rules::of(Fact { key, value, at });
            assert!(read.is.is_some());
            assert_eq!(Rules { is: None, ..read }, rules);
        }
    }

    #[test]
    fn who_is_above_is_kept_in_order_and_once() {
        let user = |id: &str| UserId::new(id).unwrap();
        let mut rules = Rules::new();
        for id in ["b", "a", "b"] {
            if let Some(next) = rules.staffed(&user(id), Some(Role::Admin)) {
                rules = next;
            }
        }
        assert_eq!(rules.staff, [user("a"), user("b")]);
        assert_eq!(rules.staffed(&user("a"), Some(Role::Owner)), None);
        assert_eq!(rules.staffed(&user("c"), None), None);
        let less = rules.staffed(&user("a"), Some(Role::Member)).unwrap();
        assert_eq!(less.staff, [user("b")]);
    }
}
