//! `groups.set`: what a group or channel is, and who may do what in it.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Body, ConversationKind, Kind, Role, Value};
use im_core::port::Write;
use im_core::rule::Action;

use super::decide::{Known, Plan, change};
use super::groups::title;
use super::params::{Params, bad, checked_lines, checked_picture, role};
use super::rules::{Door, RIGHTS, Rules};
use super::table::Call;

/// Characters of a description.
const ABOUT_CHARS_MAX: usize = 1_000;
/// What a channel's announcements may be about.
const TOPICS_MAX: usize = 32;
/// Characters of the name of one.
pub(super) const TOPIC_CHARS_MAX: usize = 64;
/// The least bound that a group may set itself: with fewer it would be none.
const MEMBERS_MIN: u64 = 2;

/// What was given. `Some(None)` takes away.
#[derive(Debug, Default)]
struct Given {
    title: Option<String>,
    about: Option<Option<String>>,
    picture: Option<Option<String>>,
    speaks: Option<Role>,
    hide_history: Option<bool>,
    door: Option<Door>,
    rights: Vec<(usize, Role)>,
    members_max: Option<Option<u32>>,
    listed: Option<bool>,
    topics: Option<Vec<String>>,
}

/// `groups.set`. What is not given stays.
pub(super) async fn set(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let given = Given::read(&call, &mut params)?;
    let value = change(&call, &conv, &[], |known| {
        given.may(&call, known)?;
        if given.is_nothing() {
            return Ok(None);
        }
        given.plan(&call, known).map(Some)
    })
    .await?;
    if given.is_for_the_directory() {
        call.inner.list_soon(&conv);
    }
    Ok(value)
}

impl Given {
    fn read(call: &Call<'_>, params: &mut Params) -> Result<Self, Failure> {
        let named = params.opt_text("title")?;
        let named = named.map(|text| title(call.inner, text));
        let topics = params.opt_names("topics", TOPICS_MAX, TOPIC_CHARS_MAX)?;
        Ok(Self {
            title: named.transpose()?,
            about: taken(params, "about", |params| {
                let about = checked_lines(params, "about", ABOUT_CHARS_MAX)?;
                about
                    .map(|about| call.inner.clean("about", about))
                    .transpose()
            })?,
            picture: taken(params, "picture", |params| {
                checked_picture(params, "picture")
            })?,
            speaks: params.opt_role("speaks")?,
            hide_history: params.opt_flag("hide_history")?,
            door: params.opt_text("join")?.map(door).transpose()?,
            rights: rights(params.opt_value("rights"))?,
            members_max: members_max(params)?,
            listed: params.opt_flag("listed")?,
            topics,
        })
    }

    const fn is_info(&self) -> bool {
        self.title.is_some() || self.about.is_some() || self.picture.is_some()
    }

    fn is_rule(&self) -> bool {
        self.speaks.is_some()
            || self.hide_history.is_some()
            || self.door.is_some()
            || !self.rights.is_empty()
            || self.members_max.is_some()
            || self.listed.is_some()
            || self.topics.is_some()
    }

    fn is_nothing(&self) -> bool {
        !self.is_info() && !self.is_rule()
    }

    const fn is_for_the_directory(&self) -> bool {
        self.title.is_some() || self.listed.is_some() || self.door.is_some()
    }

    fn may(&self, call: &Call<'_>, known: &Known) -> Result<(), Failure> {
        if self.is_info() {
            call.may(Action::SetInfo, known)?;
        }
        if self.is_rule() || !self.is_info() {
            call.may(Action::Configure, known)?;
        }
        Ok(())
    }

    fn plan(&self, call: &Call<'_>, known: &Known) -> Result<Plan, Failure> {
        let there = &known.view.conversation;
        let rules = self.ruled(call, known)?;
        let mut fields = vec![("op", Value::from("set"))];
        // One rule at least, so that the entry is one that moves the version.
        let mut writes = vec![Write::Speaks(self.speaks.unwrap_or(there.speaks))];
        if let Some(title) = &self.title {
            fields.push(("title", title.as_str().into()));
            writes.push(Write::Title(Some(title.clone())));
        }
        fields.extend(self.speaks.map(|role| ("speaks", role.as_str().into())));
        if let Some(hide) = self.hide_history {
            fields.push(("hide_history", hide.into()));
            writes.push(Write::HideHistory(hide));
        }
        fields.extend(self.told(&rules));
        writes.push(rules.put(&there.id));
        if self.is_for_the_directory() && (rules.listed || known.rules.listed) {
            writes.push(call.relist(known));
        }
        let body = Body::of(Kind::Group, fields);
        Ok(Plan { body, writes })
    }

    /// What is set then.
    fn ruled(&self, call: &Call<'_>, known: &Known) -> Result<Rules, Failure> {
        let mut rules = known.rules.clone();
        rules.door = self.door.unwrap_or(rules.door);
        for (at, role) in &self.rights {
            if let Some((_, right)) = RIGHTS.get(*at) {
                *right(&mut rules.rights) = *role;
            }
        }
        let texts = [
            (&self.about, &mut rules.about),
            (&self.picture, &mut rules.picture),
        ];
        for (given, is) in texts {
            if let Some(given) = given {
                is.clone_from(given);
            }
        }
        let there = &known.view.conversation;
        let most = call.inner.members_max(there.kind);
        if self.members_max.flatten().is_some_and(|it| it > most) {
            return Err(bad("members_max", &format!("must be at most {most}")));
        }
        rules.members_max = self.members_max.unwrap_or(rules.members_max);
        rules.listed = self.listed.unwrap_or(rules.listed);
        if let Some(topics) = &self.topics {
            rules.topics.clone_from(topics);
        }
        if rules.listed && there.kind != ConversationKind::Channel {
            return Err(Failure::new(
                ErrorCode::Conflict,
                "only channels are listed",
            ));
        }
        if rules.listed && rules.door == Door::Invite {
            let words = "what is listed is open, or by approval";
            return Err(Failure::new(ErrorCode::Conflict, words));
        }
        Ok(rules)
    }

    /// The fields of the entry that tell of the rules.
    fn told(&self, rules: &Rules) -> Vec<(&'static str, Value)> {
        let is_given = |name: &str| match name {
            "join" => self.door.is_some(),
            "rights" => !self.rights.is_empty(),
            "about" => self.about.is_some(),
            "picture" => self.picture.is_some(),
            "members_max" => self.members_max.is_some(),
            "listed" => self.listed.is_some(),
            "topics" => self.topics.is_some(),
            _ => false,
        };
        let mut fields = rules.shown();
        fields.retain(|(name, _)| is_given(name));
        let gone = ["about", "picture", "members_max", "listed", "topics"];
        let gone = gone.into_iter().filter(|name| is_given(name));
        let gone: Vec<_> = gone
            .filter(|name| fields.iter().all(|(known, _)| known != name))
            .collect();
        fields.extend(gone.into_iter().map(|name| (name, Value::Null)));
        fields
    }
}

/// A text that is given, or taken away by an empty one.
fn taken(
    params: &mut Params,
    field: &str,
    read: impl Fn(&mut Params) -> Result<Option<String>, Failure>,
) -> Result<Option<Option<String>>, Failure> {
    if params.take_empty(field) {
        return Ok(Some(None));
    }
    Ok(read(params)?.map(Some))
}

fn door(text: String) -> Result<Door, Failure> {
    Door::parse(&text).ok_or_else(|| bad("join", "must be open, approval or invite"))
}

fn rights(given: Option<Value>) -> Result<Vec<(usize, Role)>, Failure> {
    let fields = match given {
        None => return Ok(Vec::new()),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(bad("rights", "must be an object")),
    };
    let mut rights = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let at = RIGHTS.iter().position(|(known, _)| *known == name);
        let at = at.ok_or_else(|| bad("rights", "must be of add, info, pin, mention_all"))?;
        let text = value.as_text().unwrap_or_default();
        rights.push((at, role("rights", text)?));
    }
    Ok(rights)
}

fn members_max(params: &mut Params) -> Result<Option<Option<u32>>, Failure> {
    match params.opt_count("members_max")? {
        None => Ok(None),
        Some(0) => Ok(Some(None)),
        Some(most) if most >= MEMBERS_MIN => Ok(Some(u32::try_from(most).ok().or(Some(u32::MAX)))),
        Some(_) => Err(bad("members_max", "must be from 2, or 0 for no bound")),
    }
}
