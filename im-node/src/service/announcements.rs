//! Announcements: what everybody is to know, and who has confirmed it.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    Body, ConversationId, ConversationKind, Fact, FactKey, FactTable, Kind, MessageId, Seq, Value,
};
use im_core::port::{FactQuery, Put, Rejected, Was, Write};
use im_core::rule::Action;

use super::configure::TOPIC_CHARS_MAX;
use super::decide::{DECIDE_TRIES_MAX, Known, nothing};
use super::facts::{put_on, remove, set};
use super::params::{Params, bad, checked_lines, checked_text};
use super::requests::all_of;
use super::table::Call;
use crate::appender::failure;

/// Announcements of one conversation at a time.
const ANNOUNCEMENTS_MAX: usize = 50;
/// Characters of the title of one.
const TITLE_CHARS_MAX: usize = 200;
/// Announcements given at once.
const PAGE: usize = 20;
/// Who has confirmed is kept in conversations up to this size.
const CONFIRM_MEMBERS_MAX: u32 = 500;
/// Confirmations of one announcement, of those who came and went too.
const CONFIRMED_MAX: usize = 1_000;

fn name(id: MessageId) -> String {
    format!("{:016x}", id.0)
}

fn key(conv: &ConversationId, id: MessageId) -> FactKey {
    FactKey::new(FactTable::Announcement, conv.as_str(), name(id))
}

fn confirmed_key(conv: &ConversationId, id: MessageId, user: &str) -> FactKey {
    let key = format!("{}\n{user}", name(id));
    FactKey::new(FactTable::Confirmed, conv.as_str(), key)
}

fn none() -> Failure {
    Failure::new(ErrorCode::NotFound, "no such announcement")
}

/// `announcements.add`: tells everybody something that stays to be seen.
pub(super) async fn add(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let title = checked_text(&mut params, "title", TITLE_CHARS_MAX)?;
    let title = title
        .map(|title| call.inner.clean("title", title))
        .transpose()?;
    let text = checked_lines(&mut params, "text", call.inner.settings.limits.text_chars)?;
    let text = text.ok_or_else(|| bad("text", "is missing"))?;
    let text = call.inner.clean("text", text)?;
    let topic = checked_text(&mut params, "topic", TOPIC_CHARS_MAX)?;
    let mut fields = vec![("text", Value::from(text))];
    fields.extend(title.map(|title| ("title", title.into())));
    fields.extend(topic.as_deref().map(|topic| ("topic", topic.into())));
    for _ in 0..DECIDE_TRIES_MAX {
        let now = call.inner.clock.timestamp();
        call.inner.may_speak(&call.caller.user, now)?;
        let known = call.known(&conv, &[]).await?;
        call.may(Action::Announce, &known)?;
        let topics = &known.rules.topics;
        if topic.as_ref().is_some_and(|topic| !topics.contains(topic)) {
            return Err(bad("topic", "is none of those that were set"));
        }
        let entry = call
            .inner
            .server_entry(&call.caller.user, Body::of(Kind::Announce, fields.clone()));
        let Write::Append(new) = &entry else {
            return Err(none());
        };
        let key = key(&conv, new.id);
        call.has_room(&key, ANNOUNCEMENTS_MAX, "too many announcements")
            .await?;
        let mut kept = fields.clone();
        kept.extend([
            ("by", Value::from(call.caller.user.as_str())),
            ("at", new.at.0.into()),
            ("above", known.view.conversation.head.0.into()),
        ]);
        let value = Value::object([("id", Value::from(new.id.to_string()))]);
        let writes = vec![entry, set(key, Value::object(kept).to_json())];
        if let Some(value) = call.carry_facts(&known, writes, value).await? {
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// `announcements.remove`: ends one; what it said is erased.
pub(super) async fn end(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let id = params.message("id")?;
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, &[]).await?;
        call.may(Action::Announce, &known)?;
        let Some(fact) = call.inner.fact(&key(&conv, id)).await? else {
            return Ok(nothing());
        };
        let above = Value::from_json(&fact.value).ok();
        let above = above.and_then(|value| value.get("above").and_then(Value::as_int));
        let above = Seq(above.map_or(0, i64::unsigned_abs));
        let body = [("op", Value::from("end")), ("id", id.to_string().into())];
        let body = Body::of(Kind::Announce, body);
        let mut writes = vec![
            call.inner.server_entry(&call.caller.user, body),
            put_on(&fact, None),
        ];
        let seq = call.inner.place_of(&conv, id, above).await?;
        writes.extend(seq.map(|seq| Write::Erase(vec![seq])));
        let confirmed = call.confirmed(&conv, id, None, CONFIRMED_MAX).await?;
        writes.extend(confirmed.into_iter().map(|fact| remove(fact.key)));
        if let Some(value) = call.carry_facts(&known, writes, nothing()).await? {
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// `announcements.list`: those that stand, in the order of their ids, and which the caller has
/// confirmed.
pub(super) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let after = params.opt_text("after")?;
    let known = call.known(&conv, &[]).await?;
    call.may(Action::See, &known)?;
    let query = all_of(FactTable::Announcement, &conv, ANNOUNCEMENTS_MAX + 1);
    let mut facts = call.inner.facts(&query).await?;
    facts.retain(|fact| after.as_ref().is_none_or(|after| fact.key.key > *after));
    let more = facts.len() > PAGE;
    facts.truncate(PAGE);
    let me = call.caller.user.as_str();
    let mut lines = Vec::with_capacity(facts.len());
    for fact in &facts {
        let Some(id) = id_of(fact) else { continue };
        let confirmed = call.inner.fact(&confirmed_key(&conv, id, me)).await?;
        let mut value = Value::from_json(&fact.value).unwrap_or(Value::Null);
        value.take("above");
        if let Value::Object(fields) = &mut value {
            fields.push(("id".into(), id.to_string().into()));
            fields.push(("confirmed".into(), confirmed.is_some().into()));
        }
        lines.push(value);
    }
    let mut out = vec![("announcements", Value::from(lines)), ("more", more.into())];
    let last = facts.pop().filter(|_| more);
    out.extend(last.map(|last| ("next", last.key.key.into())));
    Ok(Value::object(out))
}

fn id_of(fact: &Fact) -> Option<MessageId> {
    u64::from_str_radix(&fact.key.key, 16).ok().map(MessageId)
}

/// `announcements.confirm`: the caller has read one.
pub(super) async fn confirm(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let id = params.message("id")?;
    let me = &call.caller.user;
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, &[]).await?;
        call.may(Action::See, &known)?;
        let announcement = call.inner.fact(&key(&conv, id)).await?;
        let announcement = announcement.ok_or_else(none)?;
        is_kept(&known)?;
        let key = confirmed_key(&conv, id, me.as_str());
        if call.inner.fact(&key).await?.is_some() {
            return Ok(nothing());
        }
        if call.confirmed(&conv, id, None, CONFIRMED_MAX).await?.len() >= CONFIRMED_MAX {
            return Err(Failure::new(
                ErrorCode::TooLarge,
                "too many have confirmed it",
            ));
        }
        let at = Value::object([("at", Value::from(call.inner.clock.timestamp().0))]);
        let kept = Some((announcement.value.clone(), announcement.at));
        let put = Write::Put(Put {
            key,
            to: Some((at.to_json(), None)),
            was: Was::Absent,
        });
        let writes = vec![put, put_on(&announcement, kept)];
        if let Some(value) = call.carry_facts(&known, writes, nothing()).await? {
            let event = Value::object([
                ("kind", Value::from("announcement")),
                ("conv", conv.as_str().into()),
                ("id", id.to_string().into()),
            ]);
            call.inner.tell(std::slice::from_ref(me), &event);
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// Who has confirmed is not kept where it would be too many.
fn is_kept(known: &Known) -> Result<(), Failure> {
    let there = &known.view.conversation;
    if there.kind == ConversationKind::Channel || there.member_count > CONFIRM_MEMBERS_MAX {
        let words = "who has confirmed is kept in groups of at most 500";
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    Ok(())
}

/// `announcements.readers`: who has confirmed one, in the order of their ids.
pub(super) async fn readers(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let id = params.message("id")?;
    let after = params.opt_user("after")?;
    let limit = params.page_limit()?;
    let known = call.known(&conv, &[]).await?;
    call.may(Action::SeeMembers, &known)?;
    call.inner.fact(&key(&conv, id)).await?.ok_or_else(none)?;
    is_kept(&known)?;
    let after = after.map(|user| user.as_str().to_owned());
    let mut facts = call.confirmed(&conv, id, after, limit + 1).await?;
    let more = facts.len() > limit;
    facts.truncate(limit);
    let line = |fact: &Fact| {
        let (_, user) = fact.key.key.split_once('\n')?;
        let at = Value::from_json(&fact.value).ok()?.get("at")?.clone();
        Some(Value::object([("user", Value::from(user)), ("at", at)]))
    };
    let readers: Vec<Value> = facts.iter().filter_map(line).collect();
    let all = u64::from(known.view.conversation.member_count);
    Ok(Value::object([
        ("readers", Value::from(readers)),
        ("more", more.into()),
        ("members", all.into()),
    ]))
}

impl Call<'_> {
    async fn confirmed(
        &self,
        conv: &ConversationId,
        id: MessageId,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Fact>, Failure> {
        let query = FactQuery::Of {
            table: FactTable::Confirmed,
            owner: conv.as_str().to_owned(),
            after: Some(format!("{}\n{}", name(id), after.unwrap_or_default())),
            below: Some(format!("{}\u{b}", name(id))),
            limit,
        };
        self.inner.facts(&query).await
    }
}
