//! What is a user's alone, the same on all their devices: drafts, and messages they hid.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Fact, FactKey, FactTable, Seq, Value, place_of};
use im_core::port::{FactQuery, Write};

use super::facts::{remove, set};
use super::params::{Params, bad};
use super::table::Call;

/// Drafts of one user.
const DRAFTS_MAX: usize = 200;
/// Bytes of a draft, as JSON.
const DRAFT_BYTES_MAX: usize = 8 * 1_024;
/// Drafts, and messages that wait, given at once.
const OWN_PAGE: usize = 20;
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
        let words = "draft: has more than 8192 bytes as JSON";
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    let user = &call.caller.user;
    let key = FactKey::new(FactTable::Draft, user.as_str(), conv.as_str());
    if json.is_some() {
        call.has_room(&key, DRAFTS_MAX, "too many drafts").await?;
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

/// `drafts.list`: the caller's drafts, in the order of their conversations' ids.
pub(super) async fn drafts(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    let draft = |fact: &Fact| {
        let draft = Value::from_json(&fact.value).unwrap_or(Value::Null);
        Value::object([
            ("conv", Value::from(fact.key.key.as_str())),
            ("draft", draft),
        ])
    };
    call.own_page(FactTable::Draft, "drafts", params, draft)
        .await
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

impl Call<'_> {
    /// Refuses one more fact of a user's than there may be. What is sent side by side may pass
    /// together.
    pub(super) async fn has_room(
        &self,
        key: &FactKey,
        most: usize,
        words: &str,
    ) -> Result<(), Failure> {
        if self.inner.fact(key).await?.is_some() {
            return Ok(());
        }
        let all = FactQuery::Of {
            table: key.table,
            owner: key.owner.clone(),
            after: None,
            below: None,
            limit: most,
        };
        if self.inner.facts(&all).await?.len() >= most {
            return Err(Failure::new(ErrorCode::Conflict, words));
        }
        Ok(())
    }

    /// A page of facts that are the caller's alone, above a key.
    pub(super) async fn own_page(
        &self,
        table: FactTable,
        name: &'static str,
        mut params: Params,
        line: impl Fn(&Fact) -> Value,
    ) -> Result<Value, Failure> {
        let after = params.opt_text("after")?;
        let line = |fact: &Fact| Some(line(fact));
        self.page((table, name), after, OWN_PAGE, line).await
    }

    /// Commits facts that are the caller's alone.
    pub(super) async fn put_own(&self, writes: Vec<Write>) -> Result<Value, Failure> {
        let place = place_of(FactTable::Profile, self.caller.user.as_str());
        let place = place.ok_or_else(|| bad("user", "has no facts"))?;
        self.commit(place, writes, Value::Object(Vec::new())).await
    }
}
