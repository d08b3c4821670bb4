//! Where a user wants to be pushed to, and what not.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{DeviceId, Fact, FactKey, FactTable, PushTarget, Value};

use super::facts::{remove, set};
use super::params::{Params, bad};
use super::table::Call;

/// Devices of one user that are pushed to.
const TARGETS_MAX: usize = 20;
/// Conversations that one user muted.
const MUTES_MAX: usize = 1_000;

impl Call<'_> {
    fn target_key(&self, params: &mut Params) -> Result<FactKey, Failure> {
        let own = self.caller.link.as_ref().and_then(|link| link.who());
        let device = match (params.opt_text("device")?, own) {
            (Some(device), _) => device,
            (None, Some((_, device))) => device.as_str().to_owned(),
            (None, None) => return Err(bad("device", "is missing")),
        };
        let device = DeviceId::new(device);
        let device = device.map_err(|error| bad("device", &error.to_string()))?;
        let user = self.caller.user.as_str();
        Ok(FactKey::new(FactTable::PushTarget, user, device.as_str()))
    }
}

/// `push.key`: the server's public key, which a page subscribes with.
pub(super) async fn key(call: Call<'_>, _: Params) -> Result<Value, Failure> {
    let key = call.inner.settings.push_key.as_deref();
    let key = key.ok_or_else(|| Failure::new(ErrorCode::NotFound, "there are no pushes here"))?;
    Ok(Value::object([("key", Value::from(key))]))
}

/// `push.subscribe`: pushes to a device of the caller's. What it was subscribed with before is no
/// more.
pub(super) async fn subscribe(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let key = call.target_key(&mut params)?;
    let target = PushTarget {
        kind: params.opt_text("kind")?.unwrap_or_else(|| "web".to_owned()),
        data: params
            .opt_value("data")
            .ok_or_else(|| bad("data", "is missing"))?,
        text: params.opt_flag("text")?.unwrap_or(true),
    };
    target.check().map_err(|(field, what)| bad(field, what))?;
    call.has_room(&key, TARGETS_MAX, "too many devices already")
        .await?;
    call.put_own(vec![set(key, target.to_json())]).await
}

/// `push.unsubscribe`: no more pushes to a device of the caller's.
pub(super) async fn unsubscribe(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let key = call.target_key(&mut params)?;
    call.put_own(vec![remove(key)]).await
}

/// `push.list`: the caller's devices that are pushed to. Where to is not shown: it is a secret
/// between the device and its push service.
pub(super) async fn list(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    let line = |fact: &Fact| {
        let target = PushTarget::read(&fact.value);
        let (kind, text) = target.map_or((String::new(), true), |it| (it.kind, it.text));
        Value::object([
            ("device", Value::from(fact.key.key.as_str())),
            ("kind", kind.into()),
            ("text", text.into()),
        ])
    };
    call.own_page(FactTable::PushTarget, "devices", params, line)
        .await
}

/// `push.mute`: no pushes from a conversation, until a time or for ever; with `on` false, again.
pub(super) async fn mute(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let user = call.caller.user.as_str();
    let key = FactKey::new(FactTable::PushMute, user, conv.as_str());
    if !params.opt_flag("on")?.unwrap_or(true) {
        return call.put_own(vec![remove(key)]).await;
    }
    let until = params.opt_count("until")?.unwrap_or(0);
    call.has_room(&key, MUTES_MAX, "too many are muted already")
        .await?;
    call.put_own(vec![set(key, until.to_string())]).await
}

/// `push.mutes`: what the caller muted; `until` 0 stands for ever.
pub(super) async fn mutes(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    let line = |fact: &Fact| {
        let until = fact.value.trim().parse::<i64>().unwrap_or(0);
        let conv = Value::from(fact.key.key.as_str());
        Value::object([("conv", conv), ("until", until.into())])
    };
    call.own_page(FactTable::PushMute, "mutes", params, line)
        .await
}
