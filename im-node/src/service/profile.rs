//! Profiles: what users say of themselves.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{FactKey, FactTable, UserId, Value};

use super::facts::set;
use super::params::{Params, checked_picture, checked_text};
use super::table::Call;
use crate::moderation::{Seen, refused_word, visit_value};
use crate::node::Inner;

/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;
/// Characters of what one says of oneself.
const BIO_CHARS_MAX: usize = 500;
/// Bytes of the embedder's own fields, as JSON.
const CUSTOM_BYTES_MAX: usize = 4_096;
/// Users in one call.
const USERS_MAX: usize = 100;

fn key(user: &UserId) -> FactKey {
    FactKey::new(FactTable::Profile, user.as_str(), "")
}

/// `profile.set`: the caller's profile is these fields, and no others.
pub(super) async fn put(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let mut fields = Vec::new();
    for (field, max) in [("name", NAME_CHARS_MAX), ("bio", BIO_CHARS_MAX)] {
        let text = checked_text(&mut params, field, max)?;
        let text = text.map(|text| call.inner.clean(field, text)).transpose()?;
        fields.extend(text.map(|text| (field, Value::from(text))));
    }
    let picture = checked_picture(&mut params, "picture")?;
    fields.extend(picture.map(|picture| ("picture", picture.into())));
    if let Some(mut custom) = params.opt_value("custom") {
        clean_custom(call.inner, &mut custom)?;
        if custom.to_json().len() > CUSTOM_BYTES_MAX {
            let words = "custom: has more than 4096 bytes as JSON";
            return Err(Failure::new(ErrorCode::TooLarge, words));
        }
        fields.push(("custom", custom));
    }
    let profile = Value::object(fields).to_json();
    let user = &call.caller.user;
    let value = call.put_own(vec![set(key(user), profile)]).await?;
    let event = Value::object([
        ("kind", Value::from("profile")),
        ("user", user.as_str().into()),
    ]);
    call.inner.tell(std::slice::from_ref(user), &event);
    Ok(value)
}

/// The embedder's own fields, whose texts somebody reads.
fn clean_custom(inner: &Inner, custom: &mut Value) -> Result<(), Failure> {
    let mut refused = None;
    visit_value(custom, &mut |seen| {
        let cleaned = match &seen {
            Seen::Text(text) => inner.clean("custom", text.to_string()),
            Seen::Key(key) => inner.clean("custom", key.to_string()),
            Seen::Number(_) => return,
        };
        match (seen, cleaned) {
            (_, Err(failure)) => refused = Some(failure),
            (Seen::Text(text), Ok(cleaned)) => *text = cleaned.into(),
            // Another key would be another thing.
            (Seen::Key(key), Ok(cleaned)) if cleaned != **key => {
                refused = Some(refused_word("custom"));
            }
            (Seen::Key(_) | Seen::Number(_), Ok(_)) => {}
        }
    });
    refused.map_or(Ok(()), Err)
}

/// `profile.get`: the profiles of users, of those who have one.
pub(super) async fn get(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let users = params.users("users", USERS_MAX)?;
    let mut profiles = Vec::new();
    for user in &users {
        let Some(fact) = call.inner.fact(&key(user)).await? else {
            continue;
        };
        let mut fields = vec![("user".into(), Value::from(user.as_str()))];
        if let Ok(Value::Object(known)) = Value::from_json(&fact.value) {
            fields.extend(known);
        }
        profiles.push(Value::object(fields));
    }
    Ok(Value::object([("profiles", Value::from(profiles))]))
}
