//! What a user wants to be told of in a conversation: the same on all their devices. Everything
//! still arrives; who rings or pushes asks here.

use im_core::model::{Fact, FactKey, FactTable, Value};
use im_core::rule::Action;

use super::configure::TOPIC_CHARS_MAX;
use super::facts::{remove, set};
use super::params::{Params, bad};
use super::table::Call;
use im_core::frame::Failure;

/// Conversations for which one user has said so.
const NOTIFY_MAX: usize = 1_000;
/// Topics of one channel that a user does not want.
const TOPICS_MAX: usize = 32;
/// What one may want.
const LEVELS: [&str; 3] = ["all", "mentions", "none"];

/// `notify.set`: without `level` and `topics_off`, as it was at first.
pub(super) async fn set_notify(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let level = params.opt_text("level")?;
    if level
        .as_deref()
        .is_some_and(|level| !LEVELS.contains(&level))
    {
        return Err(bad("level", "must be all, mentions or none"));
    }
    let topics = params.opt_names("topics_off", TOPICS_MAX, TOPIC_CHARS_MAX)?;
    let known = call.known(&conv, &[]).await?;
    call.may(Action::See, &known)?;
    let mut fields = Vec::new();
    fields.extend(level.map(|level| ("level", Value::from(level))));
    let topics = topics.filter(|topics| !topics.is_empty());
    fields.extend(topics.map(|topics| {
        let topics: Vec<Value> = topics.into_iter().map(Value::from).collect();
        ("topics_off", topics.into())
    }));
    let user = &call.caller.user;
    let key = FactKey::new(FactTable::Notify, user.as_str(), conv.as_str());
    let write = if fields.is_empty() {
        remove(key)
    } else {
        call.has_room(&key, NOTIFY_MAX, "too many are set").await?;
        set(key, Value::object(fields.clone()).to_json())
    };
    let value = call.put_own(vec![write]).await?;
    fields.extend([
        ("kind", Value::from("notify")),
        ("conv", conv.as_str().into()),
    ]);
    let event = Value::object(fields);
    call.inner.tell(std::slice::from_ref(user), &event);
    Ok(value)
}

/// `notify.list`: where the caller has said what they want, in the order of the ids.
pub(super) async fn list(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    let line = |fact: &Fact| {
        let mut fields = vec![("conv".into(), Value::from(fact.key.key.as_str()))];
        if let Ok(Value::Object(known)) = Value::from_json(&fact.value) {
            fields.extend(known);
        }
        Value::object(fields)
    };
    call.own_page(FactTable::Notify, "notify", params, line)
        .await
}
