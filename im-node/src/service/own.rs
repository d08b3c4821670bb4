//! What is a user's alone, the same on all their devices: drafts, and messages they hid.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Fact, FactKey, FactTable, Seq, UserId, Value, place_of};
use im_core::port::{FactQuery, Write};

use super::facts::{remove, set};
use super::params::{Params, bad};
use super::table::Call;

/// Drafts of one user.
const DRAFTS_MAX: usize = 500;
/// Bytes of a draft, as JSON.
const DRAFT_BYTES_MAX: usize = 32 * 1_024;
/// Places in one call.
const HIDE_MAX: usize = 100;
/// Places given at once.
const HIDDEN_PAGE: usize = 1_000;

/// `drafts.set`: what the caller has begun to write in a conversation; without `draft`, nothing.
pub(super) async fn set_draft(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let draft = params.opt_value("draft");
    let json = draft.as_ref().map(Value::to_json);
    if json
        .as_ref()
        .is_some_and(|json| json.len() > DRAFT_BYTES_MAX)
    {
        let words = "draft: has more than 32768 bytes as JSON";
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    let user = &call.caller.user;
    let key = FactKey::new(FactTable::Draft, user.as_str(), conv.as_str());
    if json.is_some() {
        let drafts = call
            .inner
            .facts(&own(FactTable::Draft, user, DRAFTS_MAX))
            .await?;
        if drafts.len() >= DRAFTS_MAX && drafts.iter().all(|fact| fact.key != key) {
            return Err(Failure::new(ErrorCode::Conflict, "too many drafts"));
        }
    }
    let write = match json {
        Some(json) => set(key, json),
        None => remove(key),
    };
    let value = call.put_own(vec![write]).await?;
    let mut event = vec![
        ("kind", Value::from("draft")),
        ("conv", conv.as_str().into()),
    ];
    event.extend(draft.map(|draft| ("draft", draft)));
    call.inner
        .tell(std::slice::from_ref(user), &Value::object(event));
    Ok(value)
}

/// `drafts.list`: all drafts of the caller.
pub(super) async fn drafts(call: Call<'_>, _: Params) -> Result<Value, Failure> {
    let user = &call.caller.user;
    let facts = call
        .inner
        .facts(&own(FactTable::Draft, user, DRAFTS_MAX))
        .await?;
    let draft = |fact: &Fact| {
        let draft = Value::from_json(&fact.value).unwrap_or(Value::Null);
        Value::object([
            ("conv", Value::from(fact.key.key.as_str())),
            ("draft", draft),
        ])
    };
    let drafts: Vec<Value> = facts.iter().map(draft).collect();
    Ok(Value::object([("drafts", Value::from(drafts))]))
}

/// `messages.hide`: the caller no longer wants to see these, or wants to again (`on` false). For
/// others they stay.
pub(super) async fn hide(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let on = params.opt_flag("on")?.unwrap_or(true);
    let places = params.places("seqs", HIDE_MAX)?;
    let (first, last) = call.seen(&conv).await?;
    if places.iter().any(|seq| !(first..=last).contains(seq)) {
        return Err(Failure::new(ErrorCode::NotFound, "no such entry"));
    }
    let user = &call.caller.user;
    let key = |seq: &Seq| {
        let key = format!("{}\n{:016x}", conv.as_str(), seq.0);
        FactKey::new(FactTable::Hidden, user.as_str(), key)
    };
    let writes = places.iter().map(key);
    let writes = writes.map(|key| match on {
        true => set(key, "true".to_owned()),
        false => remove(key),
    });
    let value = call.put_own(writes.collect()).await?;
    let seqs: Vec<Value> = places.iter().map(|seq| seq.0.into()).collect();
    let event = Value::object([
        ("kind", Value::from("hidden")),
        ("conv", conv.as_str().into()),
        ("seqs", seqs.into()),
        ("on", on.into()),
    ]);
    call.inner.tell(std::slice::from_ref(user), &event);
    Ok(value)
}

/// `messages.hidden`: what the caller hid in a conversation, above a place.
pub(super) async fn hidden(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let after = params.opt_count("after")?.unwrap_or(0);
    let query = FactQuery::Of {
        table: FactTable::Hidden,
        owner: call.caller.user.as_str().to_owned(),
        after: Some(format!("{}\n{after:016x}", conv.as_str())),
        below: Some(format!("{}\u{b}", conv.as_str())),
        limit: HIDDEN_PAGE + 1,
    };
    let mut facts = call.inner.facts(&query).await?;
    let more = facts.len() > HIDDEN_PAGE;
    facts.truncate(HIDDEN_PAGE);
    let seq = |fact: &Fact| {
        let (_, seq) = fact.key.key.rsplit_once('\n')?;
        u64::from_str_radix(seq, 16).ok().map(Value::from)
    };
    let seqs: Vec<Value> = facts.iter().filter_map(seq).collect();
    Ok(Value::object([
        ("seqs", Value::from(seqs)),
        ("more", more.into()),
    ]))
}

/// The first facts of a user.
pub(super) fn own(table: FactTable, user: &UserId, limit: usize) -> FactQuery {
    FactQuery::Of {
        table,
        owner: user.as_str().to_owned(),
        after: None,
        below: None,
        limit,
    }
}

impl Call<'_> {
    /// Commits facts that are the caller's alone.
    pub(super) async fn put_own(&self, writes: Vec<Write>) -> Result<Value, Failure> {
        let place = place_of(FactTable::Setting, self.caller.user.as_str());
        let place = place.ok_or_else(|| bad("user", "has no facts"))?;
        self.commit(place, writes, Value::Object(Vec::new())).await
    }
}
