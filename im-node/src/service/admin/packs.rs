//! Packs of stickers, and the shortcodes of emoji in them.

use std::collections::BTreeSet;

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Fact, Value};
use im_core::port::{Put, Was, Write};
use im_core::rule::Power;

use super::{Act, opt_why, why};
use crate::service::facts::{put_on, remove as removed};
use crate::service::params::{Params, bad, checked_text};
use crate::service::stickers::{checked_id, code_key, pack_key, stickers};
use crate::service::table::Call;

/// Stickers in a pack.
const STICKERS_MAX: usize = 120;
/// Characters of a title.
const TITLE_CHARS_MAX: usize = 64;
/// Characters of a picture's id, and of an emoji.
const BLOB_CHARS_MAX: usize = 256;
const EMOJI_CHARS_MAX: usize = 32;

/// `admin.packs.set`: a pack is these stickers, and no others.
pub(in crate::service) async fn put(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::ChangeStickers).await?;
    let pack = checked_id("pack", params.text("pack")?)?;
    let title = checked_text(&mut params, "title", TITLE_CHARS_MAX)?;
    let title = title.ok_or_else(|| bad("title", "is missing"))?;
    let given = read(params.opt_value("stickers"))?;
    let why = opt_why(&mut params)?;
    let known = call.inner.fact(&pack_key(&pack)).await?;
    let value = Value::object([
        ("stickers", Value::from(given.clone())),
        ("title", title.into()),
    ]);
    let mut writes = call.codes(&pack, known.as_ref(), &given).await?;
    writes.push(Write::Put(Put {
        key: pack_key(&pack),
        to: Some((value.to_json(), None)),
        was: known.map_or(Was::Absent, |fact| Was::Value(fact.value)),
    }));
    let mut act = Act::new("packs.set")
        .with("pack", pack)
        .with("stickers", given.len() as u64);
    if let Some(why) = why {
        act = act.with("why", why);
    }
    call.act(&act, writes, Value::Object(Vec::new())).await
}

/// `admin.packs.remove`: there is no such pack any more. Messages with its stickers stay.
pub(in crate::service) async fn remove(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::ChangeStickers).await?;
    let pack = checked_id("pack", params.text("pack")?)?;
    let why = why(&mut params)?;
    let known = call.inner.fact(&pack_key(&pack)).await?;
    let known = known.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such pack"))?;
    let mut writes = call.codes(&pack, Some(&known), &[]).await?;
    writes.push(put_on(&known, None));
    let act = Act::new("packs.remove").with("pack", pack).with("why", why);
    call.act(&act, writes, Value::Object(Vec::new())).await
}

fn read(given: Option<Value>) -> Result<Vec<Value>, Failure> {
    let Some(Value::Array(items)) = given else {
        return Err(bad("stickers", "must be an array"));
    };
    if items.len() > STICKERS_MAX {
        let words = "stickers: has more than 120 items";
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    let read: Vec<Value> = items.into_iter().map(sticker).collect::<Result<_, _>>()?;
    for field in ["id", "code"] {
        let named = read.iter().filter_map(|one| text(one, field));
        let names: Vec<String> = named.collect();
        if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
            return Err(bad("stickers", "two have the same id or code"));
        }
    }
    Ok(read)
}

fn sticker(item: Value) -> Result<Value, Failure> {
    if !matches!(item, Value::Object(_)) {
        return Err(bad("stickers", "must be an array of objects"));
    }
    let mut item = Params::new(item);
    let mut fields = vec![("id", Value::from(checked_id("id", item.text("id")?)?))];
    let blob = checked_text(&mut item, "blob", BLOB_CHARS_MAX)?;
    fields.push((
        "blob",
        blob.ok_or_else(|| bad("blob", "is missing"))?.into(),
    ));
    let emoji = checked_text(&mut item, "emoji", EMOJI_CHARS_MAX)?;
    fields.extend(emoji.map(|emoji| ("emoji", emoji.into())));
    if let Some(code) = item.opt_text("code")? {
        fields.push(("code", checked_code(code)?.into()));
    }
    Ok(Value::object(fields))
}

/// A shortcode, as it stands between two colons.
fn checked_code(code: String) -> Result<String, Failure> {
    let code = checked_id("code", code)?;
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '+');
    if code != code.to_lowercase() || !code.chars().all(is_plain) {
        return Err(bad("code", "must be small letters, digits, _, - and +"));
    }
    Ok(code)
}

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field).and_then(Value::as_text).map(str::to_owned)
}

impl Call<'_> {
    /// Takes the codes that a pack had, and gives those that it has now; one that another pack has
    /// is refused.
    async fn codes(
        &self,
        pack: &str,
        before: Option<&Fact>,
        now: &[Value],
    ) -> Result<Vec<Write>, Failure> {
        let had = before.map(stickers).unwrap_or_default();
        let had: BTreeSet<String> = had.iter().filter_map(|one| text(one, "code")).collect();
        let mut writes = Vec::new();
        let mut has = BTreeSet::new();
        for one in now {
            let (Some(code), Some(id)) = (text(one, "code"), text(one, "id")) else {
                continue;
            };
            let known = self.inner.fact(&code_key(&code)).await?;
            if known.is_some() && !had.contains(&code) {
                let words = format!("code: another pack has {code}");
                return Err(Failure::new(ErrorCode::Conflict, words));
            }
            let value = Value::object([
                ("pack", Value::from(pack.to_owned())),
                ("sticker", id.into()),
            ]);
            writes.push(Write::Put(Put {
                key: code_key(&code),
                to: Some((value.to_json(), None)),
                was: known.map_or(Was::Absent, |fact| Was::Value(fact.value)),
            }));
            has.insert(code);
        }
        let gone = had.difference(&has).map(|code| removed(code_key(code)));
        writes.extend(gone);
        Ok(writes)
    }
}
