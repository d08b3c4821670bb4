//! Every cell of the permission table: each action, against each relation. `docs/security.md`
//! shows the same table.

use super::*;
use crate::model::{Seq, UserId};

const AT: Timestamp = Timestamp(100);
const WINDOWS: ChangeWindows = ChangeWindows {
    edit_ms: Some(10),
    admin_edit_ms: None,
    recall_ms: Some(10),
};

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

/// Who acts.
fn actors() -> Vec<(&'static str, Option<Member>, bool)> {
    let mut left = member("me", Role::Owner);
    left.left_seq = Some(Seq(5));
    let muted = Member {
        muted_until: Some(Timestamp(i64::MAX)),
        ..member("me", Role::Member)
    };
    let is = |role| Some(member("me", role));
    vec![
        ("stranger", None, false),
        ("who left", Some(left), false),
        ("muted", Some(muted), false),
        ("member", is(Role::Member), false),
        ("admin", is(Role::Admin), false),
        ("owner", is(Role::Owner), false),
        ("owner, disbanded", is(Role::Owner), true),
    ]
}

/// Another one, or the actor.
struct Others {
    of: [Member; 3],
    left: Member,
}

impl Others {
    fn new() -> Self {
        let of = [Role::Member, Role::Admin, Role::Owner].map(|role| member("it", role));
        let mut left = member("it", Role::Member);
        left.left_seq = Some(Seq(5));
        Self { of, left }
    }

    /// The targets of an action, by name.
    fn each<'a>(&'a self, me: Option<&'a Member>) -> Vec<(&'static str, &'a Member)> {
        let [low, admin, owner] = &self.of;
        let me = me.unwrap_or(low);
        let all = [("a member", low), ("an admin", admin), ("the owner", owner)];
        let mut all = all.to_vec();
        all.extend([("oneself", me), ("one who left", &self.left)]);
        all
    }
}

/// A conversation in which the actor acts.
#[derive(Clone, Copy)]
struct Setting {
    kind: ConversationKind,
    speaks: Role,
    rights: Rights,
    now: Timestamp,
}

const GROUP: Setting = Setting {
    kind: ConversationKind::Group,
    speaks: Role::Member,
    rights: Rights::DEFAULT,
    now: Timestamp(105),
};
const QUIET: Setting = Setting {
    speaks: Role::Admin,
    ..GROUP
};
const CHANNEL: Setting = Setting {
    kind: ConversationKind::Channel,
    ..QUIET
};
const DIRECT: Setting = Setting {
    kind: ConversationKind::Direct,
    ..GROUP
};
const LATE: Setting = Setting {
    now: Timestamp(1_000),
    ..GROUP
};
const WIDE: Setting = Setting {
    rights: Rights {
        add: Role::Member,
        info: Role::Member,
        pin: Role::Member,
        mention_all: Role::Member,
    },
    ..GROUP
};

type Row<'a> = (String, Setting, Action<'a>);

fn change(kind: Kind, author: Option<&Member>) -> Action<'_> {
    Action::Change {
        kind,
        own: author.is_none(),
        author,
        at: AT,
        windows: WINDOWS,
    }
}

fn rows<'a>(others: &'a Others, me: Option<&'a Member>) -> Vec<Row<'a>> {
    let mut rows = plain();
    rows.extend(targeted(others, me));
    rows
}

/// What is done to nobody.
fn plain() -> Vec<Row<'static>> {
    let one = |name: &str, setting, action| (name.to_owned(), setting, action);
    let said = Action::Send(Kind::Text);
    let join = |open, banned| Action::Join { open, banned };
    vec![
        one("read the log", GROUP, Action::Pull),
        one("see it", GROUP, Action::See),
        one("see the members of a group", GROUP, Action::SeeMembers),
        one(
            "see the subscribers of a channel",
            CHANNEL,
            Action::SeeMembers,
        ),
        one("say something", GROUP, said),
        one("say something where only admins speak", QUIET, said),
        one("say something in a channel", CHANNEL, said),
        one("react in a channel", CHANNEL, Action::Send(Kind::React)),
        one("pin", GROUP, Action::Send(Kind::Pin)),
        one("pin where members may", WIDE, Action::Send(Kind::Pin)),
        one("mention everybody", GROUP, Action::MentionAll),
        one(
            "mention everybody where members may",
            WIDE,
            Action::MentionAll,
        ),
        one("edit one's own in time", GROUP, change(Kind::Edit, None)),
        one("edit one's own too late", LATE, change(Kind::Edit, None)),
        one(
            "recall one's own in time",
            GROUP,
            change(Kind::Recall, None),
        ),
        one(
            "recall one's own too late",
            LATE,
            change(Kind::Recall, None),
        ),
        one("add", GROUP, Action::Add),
        one("add where members may", WIDE, Action::Add),
        one("join by an open door or a link", GROUP, join(true, false)),
        one("join where one is banned", GROUP, join(true, true)),
        one("join by a closed door", GROUP, join(false, false)),
        one("set title, picture, description", GROUP, Action::SetInfo),
        one("set these where members may", WIDE, Action::SetInfo),
        one("set the rules", GROUP, Action::Configure),
        one("answer requests, see links and bans", GROUP, Action::Admit),
        one("announce", GROUP, Action::Announce),
        one(
            "leave with others in it",
            GROUP,
            Action::Leave { member_count: 2 },
        ),
        one(
            "leave as the last",
            GROUP,
            Action::Leave { member_count: 1 },
        ),
        one("disband", GROUP, Action::Disband),
        one("ban one who is not in", GROUP, Action::Ban(None)),
        one(
            "any of these in a direct conversation",
            DIRECT,
            Action::Configure,
        ),
    ]
}

/// An action on somebody.
type On = fn(&Member) -> Action<'_>;

fn targeted<'a>(others: &'a Others, me: Option<&'a Member>) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    let actions: [(&str, On); 7] = [
        ("edit a text of", |it| change(Kind::Edit, Some(it))),
        ("recall a message of", |it| change(Kind::Recall, Some(it))),
        ("remove", |it| Action::Remove(it)),
        ("mute", |it| Action::Mute(it)),
        ("ban", |it| Action::Ban(Some(it))),
        ("name", |it| Action::SetNick(it)),
        ("give a role to", |target| Action::SetRole {
            target,
            role: Role::Admin,
        }),
    ];
    for (name, action) in actions {
        for (of, target) in others.each(me) {
            let is_own_text = of == "oneself" && name.ends_with(" of");
            if !is_own_text {
                rows.push((format!("{name} {of}"), GROUP, action(target)));
            }
        }
    }
    rows
}

fn verdict(action: Action<'_>, setting: Setting, me: Option<&Member>, ended: bool) -> String {
    let view = ActorView {
        kind: setting.kind,
        speaks: if ended { Role::Nobody } else { setting.speaks },
        rights: setting.rights,
        member: me,
        barrier: Barrier::None,
        now: setting.now,
    };
    match authorize(action, view) {
        Ok(()) => "yes".to_owned(),
        Err(failure) => format!("`{}`", failure.code.as_str()),
    }
}

/// The table as the page shows it.
fn table() -> String {
    let (others, actors) = (Others::new(), actors());
    let names: Vec<_> = actors.iter().map(|(name, ..)| *name).collect();
    let line = "| --- ".repeat(names.len() + 1);
    let mut out = format!("| | {} |\n{line}|\n", names.join(" | "));
    let count = rows(&others, None).len();
    for at in 0..count {
        let mut cells = Vec::new();
        let mut name = String::new();
        for (_, me, ended) in &actors {
            let rows = rows(&others, me.as_ref());
            let (row, setting, action) = &rows[at];
            name.clone_from(row);
            cells.push(verdict(*action, *setting, me.as_ref(), *ended));
        }
        out.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    out
}

#[test]
fn every_cell_is_as_the_page_says() {
    let page = include_str!("../../../../docs/security.md");
    let table = table();
    assert!(
        page.contains(&table),
        "docs/security.md must have:\n{table}"
    );
}
