//! Emoji and stickers: packs that the staff keeps, and what of them users have for themselves.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Body, Fact, FactKey, FactTable, Kind, Value};
use im_core::port::FactQuery;

use super::facts::{remove, set};
use super::params::{Params, bad, is_hidden};
use super::table::Call;
use crate::node::Inner;

/// Characters of the ids of packs and stickers, and of a shortcode.
const ID_CHARS_MAX: usize = 64;
/// Packs in one user's collection.
const COLLECTED_MAX: usize = 200;
/// Stickers that one user keeps by themselves.
const FAVORITES_MAX: usize = 200;
/// Packs given at once.
const PACKS_PAGE: usize = 50;
/// Shortcodes given at once.
const CODES_PAGE: usize = 20;
/// What stands between the parts of a key; no id has it.
const BETWEEN: char = '\n';

/// The key of a pack.
pub(super) fn pack_key(pack: &str) -> FactKey {
    FactKey::new(FactTable::Pack, "", pack)
}

/// The key of a shortcode.
pub(super) fn code_key(code: &str) -> FactKey {
    FactKey::new(FactTable::Shortcode, "", code)
}

/// The id of a pack or a sticker: what people can type, and no more.
pub(super) fn checked_id(field: &str, id: String) -> Result<String, Failure> {
    if id.is_empty() || id.chars().count() > ID_CHARS_MAX || id.chars().any(is_hidden) {
        return Err(bad(field, "must be a text of 1 to 64 plain characters"));
    }
    Ok(id)
}

/// The stickers of a pack, as the fact holds them.
pub(super) fn stickers(pack: &Fact) -> Vec<Value> {
    let value = Value::from_json(&pack.value).ok();
    match value.and_then(|mut value| value.take("stickers")) {
        Some(Value::Array(stickers)) => stickers,
        _ => Vec::new(),
    }
}

fn has(pack: &Fact, sticker: &str) -> bool {
    let id = |one: &Value| one.get("id").and_then(Value::as_text).map(str::to_owned);
    stickers(pack)
        .iter()
        .any(|one| id(one).as_deref() == Some(sticker))
}

/// `packs.list`: the packs that there are, in the order of their ids, without their stickers.
pub(super) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let after = params.opt_text("after")?;
    let line = |fact: &Fact| {
        let mut value = Value::from_json(&fact.value).ok()?;
        let count = stickers(fact).len() as u64;
        let title = value.take("title")?;
        Some(Value::object([
            ("pack", Value::from(fact.key.key.clone())),
            ("title", title),
            ("stickers", count.into()),
        ]))
    };
    let table = (FactTable::Pack, "", "packs");
    call.page_of(table, after, PACKS_PAGE, line).await
}

/// `packs.get`: a pack with its stickers.
pub(super) async fn get(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let pack = checked_id("pack", params.text("pack")?)?;
    let fact = call.inner.pack(&pack).await?;
    let mut fields = vec![("pack".into(), Value::from(pack))];
    if let Ok(Value::Object(known)) = Value::from_json(&fact.value) {
        fields.extend(known);
    }
    Ok(Value::object(fields))
}

/// `packs.collect`: the caller has a pack for themselves, on all their devices, or (`on` false) no
/// longer.
pub(super) async fn collect(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let pack = checked_id("pack", params.text("pack")?)?;
    let on = params.opt_flag("on")?.unwrap_or(true);
    let key = FactKey::new(
        FactTable::Collected,
        call.caller.user.as_str(),
        pack.clone(),
    );
    if on {
        call.inner.pack(&pack).await?;
    }
    call.keep(key, on, COLLECTED_MAX, "too many packs").await
}

/// `packs.collected`: the packs that the caller has.
pub(super) async fn collected(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    let line = |fact: &Fact| Value::from(fact.key.key.clone());
    call.own_page(FactTable::Collected, "packs", params, line)
        .await
}

/// `stickers.keep`: the caller keeps one sticker at hand, or (`on` false) no longer.
pub(super) async fn keep(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let pack = checked_id("pack", params.text("pack")?)?;
    let sticker = checked_id("sticker", params.text("sticker")?)?;
    let on = params.opt_flag("on")?.unwrap_or(true);
    if on && !has(&call.inner.pack(&pack).await?, &sticker) {
        return Err(no_sticker());
    }
    let key = format!("{pack}{BETWEEN}{sticker}");
    let key = FactKey::new(FactTable::Kept, call.caller.user.as_str(), key);
    call.keep(key, on, FAVORITES_MAX, "too many stickers").await
}

/// `stickers.kept`: the stickers that the caller keeps at hand.
pub(super) async fn kept(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    let line = |fact: &Fact| {
        let (pack, sticker) = fact.key.key.split_once(BETWEEN).unwrap_or_default();
        let (pack, sticker) = (pack.to_owned(), sticker.to_owned());
        Value::object([("pack", Value::from(pack)), ("sticker", sticker.into())])
    };
    call.own_page(FactTable::Kept, "stickers", params, line)
        .await
}

/// `emoji.find`: the shortcodes that begin so, in their order, each with its sticker.
pub(super) async fn find(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let prefix = checked_id("prefix", params.text("prefix")?)?.to_lowercase();
    let query = FactQuery::Of {
        table: FactTable::Shortcode,
        owner: String::new(),
        // Just below the prefix itself: no code holds U+0000.
        after: Some(before(&prefix)),
        below: Some(format!("{prefix}\u{10ffff}")),
        limit: CODES_PAGE,
    };
    let line = |fact: &Fact| {
        let mut fields = vec![("code".into(), Value::from(fact.key.key.clone()))];
        if let Ok(Value::Object(known)) = Value::from_json(&fact.value) {
            fields.extend(known);
        }
        Value::object(fields)
    };
    let found = call.inner.facts(&query).await?;
    let found: Vec<Value> = found.iter().map(line).collect();
    Ok(Value::object([("emoji", Value::from(found))]))
}

/// The greatest text that is below every text which begins so, as far as codes go: the last
/// character one lower, and the highest behind it.
fn before(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    let lower = text.pop().and_then(|last| {
        let down = u32::from(last).checked_sub(1)?;
        char::from_u32(down).or(Some('\u{d7ff}'))
    });
    if let Some(lower) = lower {
        text.push(lower);
        text.push('\u{10ffff}');
    }
    text
}

fn no_sticker() -> Failure {
    Failure::new(ErrorCode::NotFound, "no such sticker")
}

impl Inner {
    async fn pack(&self, pack: &str) -> Result<Fact, Failure> {
        let fact = self.fact(&pack_key(pack)).await?;
        fact.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such pack"))
    }

    /// Refuses a sticker of a pack that has none of that name. One that names no pack is the
    /// embedder's own.
    pub(super) async fn check_sticker(&self, body: &Body) -> Result<(), Failure> {
        if body.kind() != Kind::Sticker {
            return Ok(());
        }
        let value = body.value();
        let text = |field| value.get(field).and_then(Value::as_text).map(str::to_owned);
        let (Some(pack), Some(sticker)) = (text("pack"), text("sticker")) else {
            return Ok(());
        };
        let pack = self.fact(&pack_key(&pack)).await?;
        match pack.is_some_and(|pack| has(&pack, &sticker)) {
            true => Ok(()),
            false => Err(no_sticker()),
        }
    }
}

impl Call<'_> {
    async fn keep(
        &self,
        key: FactKey,
        on: bool,
        most: usize,
        words: &str,
    ) -> Result<Value, Failure> {
        if on {
            self.has_room(&key, most, words).await?;
        }
        let at = self.inner.clock.timestamp();
        let write = match on {
            true => set(key, at.0.to_string()),
            false => remove(key),
        };
        let value = self.put_own(vec![write]).await?;
        let event = Value::object([("kind", Value::from("stickers"))]);
        let user = &self.caller.user;
        self.inner.tell(std::slice::from_ref(user), &event);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_above_what_does_not_begin_so() {
        for prefix in ["a", "ab", "\u{1}", "\u{e000}", "ß"] {
            let below = before(prefix);
            assert!(below.as_str() < prefix, "{prefix:?}");
        }
        assert!(before("ab").as_str() > "aa");
        assert!(before("ab").as_str() > "aazz");
    }
}
