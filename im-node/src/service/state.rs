//! What messages say by now, without replaying the log: edits, recalls, reactions, pins, readers.

use std::collections::BTreeMap;

use im_core::frame::{ErrorCode, Failure, Limits};
use im_core::model::{ConversationId, Member, Seq, Value};
use im_core::rule::{Action, Mark};

use super::change::all_pins;
use super::params::{Params, bad};
use super::table::Call;
use crate::appender::port_failure;

/// Marks read at once. A page that ends early says where.
const MARKS_MAX: usize = 5_000;
/// Users named for one reaction; the count is of all.
const REACTORS_MAX: usize = 20;
/// Members of a conversation of which it is told who has read what.
const READERS_MEMBERS_MAX: usize = 500;

/// `conv.states`: what was done to the messages of a run of places.
pub(super) async fn states(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let from = place(&mut params, "from")?;
    let to = place(&mut params, "to")?;
    let (first, last) = call.seen(&conv).await?;
    let from = from.max(first);
    let most = Seq(from.0.saturating_add(Limits::PAGE_ENTRIES_MAX as u64 - 1));
    let to = to.min(last).min(most);
    if to < from {
        return Ok(Value::object([("states", Value::from(Vec::new()))]));
    }
    let view = call.view(&conv, &[]).await?;
    let all = call.authorize(Action::SeeMembers, &view, call.me(&view));
    let shown_to = all.is_err().then(|| call.caller.user.as_str());
    let facts = call.inner.marks(&conv, from, to, MARKS_MAX).await?;
    let whole = facts.len() < MARKS_MAX;
    let oldest = call.inner.oldest_in(&conv).await?;
    let mut states: BTreeMap<Seq, State> = BTreeMap::new();
    for fact in &facts {
        // What is as old as nothing is kept here is not given, also before it is erased.
        let mark = Mark::read(&fact.key.key, &fact.value);
        if let Some((seq, mark)) = mark.filter(|(_, mark)| Some(mark.at()) > oldest) {
            states.entry(seq).or_default().add(mark, shown_to);
        }
    }
    // Of the last message some may be missing: it comes again, unless it is more than a page alone.
    let more = match states.last_key_value() {
        Some((seq, _)) if !whole && states.len() == 1 => Some(seq.next()),
        _ if whole => None,
        _ => states.pop_last().map(|(seq, _)| seq),
    };
    let states: Vec<Value> = states
        .iter()
        .map(|(seq, state)| state.to_value(*seq))
        .collect();
    let mut out = vec![("states", Value::from(states))];
    out.extend(more.map(|seq| ("more_from", seq.0.into())));
    Ok(Value::object(out))
}

/// `conv.pins`: the pinned messages, in the order of their places.
pub(super) async fn pins(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let (first, last) = call.seen(&conv).await?;
    let facts = call.inner.facts(&all_pins(&conv)).await?;
    let pin = |fact: &im_core::model::Fact| {
        let seq = Seq(u64::from_str_radix(&fact.key.key, 16).ok()?);
        let value = Value::from_json(&fact.value).ok()?;
        let (by, at) = (value.get("by")?.clone(), value.get("at")?.clone());
        let seen = (first..=last).contains(&seq);
        seen.then(|| Value::object([("seq", Value::from(seq.0)), ("by", by), ("at", at)]))
    };
    let pins: Vec<Value> = facts.iter().filter_map(pin).collect();
    Ok(Value::object([("pins", Value::from(pins))]))
}

/// `messages.readers`: who has got and read a message, in conversations that are not too large.
pub(super) async fn readers(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let seq = place(&mut params, "seq")?;
    let view = call.view(&conv, &[]).await?;
    call.authorize(Action::SeeMembers, &view, call.me(&view))?;
    let (first, last) = call.seen(&conv).await?;
    if !(first..=last).contains(&seq) {
        return Err(Failure::new(ErrorCode::NotFound, "no such entry"));
    }
    let members = call
        .inner
        .store
        .members(&conv, None, READERS_MEMBERS_MAX + 1);
    let members = members.await.map_err(|error| port_failure(&error))?;
    if members.len() > READERS_MEMBERS_MAX {
        let words = "it has more than 500 members";
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    let names = |of: &dyn Fn(&&Member) -> bool| -> Value {
        let some = members.iter().filter(of);
        some.map(|member| member.user.as_str().into())
            .collect::<Vec<Value>>()
            .into()
    };
    let sees = |member: &&Member| member.first_seq <= seq;
    let read = |member: &&Member| sees(member) && member.read >= seq;
    let delivered = |member: &&Member| sees(member) && member.delivered >= seq && member.read < seq;
    let waiting = |member: &&Member| sees(member) && member.delivered < seq;
    Ok(Value::object([
        ("read", names(&read)),
        ("delivered", names(&delivered)),
        ("waiting", names(&waiting)),
    ]))
}

fn place(params: &mut Params, field: &str) -> Result<Seq, Failure> {
    let place = params.opt_count(field)?.filter(|place| *place > 0);
    place
        .map(Seq)
        .ok_or_else(|| bad(field, "must be an integer from 1"))
}

impl Call<'_> {
    /// The part of a log that the caller may see: its first and last place.
    pub(super) async fn seen(&self, conv: &ConversationId) -> Result<(Seq, Seq), Failure> {
        let view = self.view(conv, &[]).await?;
        let me = self.me(&view);
        self.authorize(Action::See, &view, me)?;
        let me = me.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such conversation"))?;
        let first = me.first_seq.max(view.conversation.first_seq);
        Ok((first, view.conversation.head))
    }
}

/// What was done to a message.
#[derive(Default)]
struct State {
    fields: Vec<(&'static str, Value)>,
    reactions: BTreeMap<String, (u64, Vec<Value>)>,
}

impl State {
    /// With `shown_to`, who reacted is shown only if it was this user.
    fn add(&mut self, mark: Mark, shown_to: Option<&str>) {
        match mark {
            Mark::Edit(edit) => self.fields.push((
                "edited",
                Value::object([
                    ("text", Value::from(edit.text)),
                    ("by", edit.by.as_str().into()),
                    ("at", edit.at.0.into()),
                ]),
            )),
            Mark::Recall { by, at } => self.fields.push((
                "recalled",
                Value::object([("by", Value::from(by.as_str())), ("at", at.0.into())]),
            )),
            Mark::React { by, emoji, .. } => {
                let (count, users) = self.reactions.entry(emoji).or_default();
                *count += 1;
                let is_shown = shown_to.is_none_or(|user| user == by.as_str());
                if is_shown && users.len() < REACTORS_MAX {
                    users.push(by.as_str().into());
                }
            }
        }
    }

    fn to_value(&self, seq: Seq) -> Value {
        let mut out = vec![("seq", Value::from(seq.0))];
        let recalled = self.fields.iter().find(|(field, _)| *field == "recalled");
        if let Some(recalled) = recalled {
            out.push(recalled.clone());
            return Value::object(out);
        }
        out.extend(self.fields.iter().cloned());
        if !self.reactions.is_empty() {
            let reaction = |(emoji, (count, users)): (&String, &(u64, Vec<Value>))| {
                Value::object([
                    ("emoji", Value::from(emoji.as_str())),
                    ("count", (*count).into()),
                    ("users", users.clone().into()),
                ])
            };
            let reactions: Vec<Value> = self.reactions.iter().map(reaction).collect();
            out.push(("reactions", reactions.into()));
        }
        Value::object(out)
    }
}
