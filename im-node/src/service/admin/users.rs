//! Users: shut out, muted everywhere, sent away.

use std::borrow::Cow;

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{DeviceId, Fact, FactTable, Timestamp, UserId, Value};
use im_core::port::{Put, Was, Write};
use im_core::rule::{Power, Staff, may_act_on};

use super::{Act, limit, why};
use crate::appender::port_failure;
use crate::moderation::{List, STANDINGS_MAX, standing_key};
use crate::service::facts::remove;
use crate::service::params::{Params, bad};
use crate::service::table::Call;

/// The longest ban or mute with an end: ten years, in milliseconds.
const MS_MAX: u64 = 10 * 365 * 24 * 3_600 * 1_000;
/// Lines given at once.
const LINES_MAX: usize = 200;

/// `admin.users.get`: what the staff knows of a user.
pub(in crate::service) async fn get(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::See).await?;
    let user = params.user("user")?;
    let mut out = vec![("user", Value::from(user.as_str().to_owned()))];
    let now = call.inner.clock.timestamp();
    for (part, field) in [("ban", "banned"), ("mute", "muted")] {
        let fact = call.inner.fact(&standing_key(part, &user)).await?;
        let fact = fact.filter(|fact| fact.at.is_none_or(|at| at > now));
        out.extend(fact.map(|fact| (field, Value::object(sanction(&fact)))));
    }
    let staff = call.known_staff(&user);
    if staff.is_any() {
        let roles: Vec<Value> = staff.names().map(Value::from).collect();
        out.push(("roles", roles.into()));
    }
    let routes = call.inner.registry.find(std::slice::from_ref(&user)).await;
    let routes = routes.map_err(|error| port_failure(&error))?;
    let device = |route: &im_core::port::Route| {
        Value::object([
            ("device", Value::from(route.device.as_str().to_owned())),
            ("node", route.node.as_str().to_owned().into()),
        ])
    };
    let devices: Vec<Value> = routes.iter().map(device).collect();
    out.push(("devices", devices.into()));
    Ok(Value::object(out))
}

/// `admin.users.ban`: the user's connections end, and none begins, for so long or for ever.
pub(in crate::service) async fn ban(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let user = call.target(&mut params).await?;
    let ms = params.opt_count("ms")?;
    if ms == Some(0) {
        return Err(bad("ms", "must be at least 1"));
    }
    let why = why(&mut params)?;
    let act = Act::new("users.ban")
        .user(&user)
        .with("why", why.as_str().to_owned());
    let value = call.sanctioned("ban", &user, ms, &why, act).await?;
    call.inner.revoke(&user, None);
    Ok(value)
}

/// `admin.users.unban`: takes it back.
pub(in crate::service) async fn unban(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    let user = call.target(&mut params).await?;
    let act = Act::new("users.unban")
        .user(&user)
        .with("why", why(&mut params)?);
    call.pardoned("ban", &user, act).await
}

/// `admin.users.mute`: the user says nothing anywhere for so long; 0 ends it.
pub(in crate::service) async fn mute(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let user = call.target(&mut params).await?;
    let ms = params.opt_count("ms")?;
    let ms = ms.ok_or_else(|| bad("ms", "is missing"))?;
    let why = why(&mut params)?;
    let act = Act::new("users.mute")
        .user(&user)
        .with("why", why.as_str().to_owned());
    match ms {
        0 => call.pardoned("mute", &user, act).await,
        ms => call.sanctioned("mute", &user, Some(ms), &why, act).await,
    }
}

/// `admin.users.kick`: the user's connections end, or those of one device. Whether they may come
/// again is a ban's to say.
pub(in crate::service) async fn kick(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let user = call.target(&mut params).await?;
    let device = params.opt_text("device")?.map(DeviceId::new).transpose();
    let device = device.map_err(|error| bad("device", &error.to_string()))?;
    let mut act = Act::new("users.kick")
        .user(&user)
        .with("why", why(&mut params)?);
    if let Some(device) = &device {
        act = act.with("device", device.as_str().to_owned());
    }
    call.note(&act).await?;
    call.inner.revoke(&user, device.as_ref());
    Ok(Value::Object(Vec::new()))
}

/// `admin.users.banned`: who is shut out, in the order of their ids.
pub(in crate::service) async fn banned(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::See).await?;
    let after = params.opt_user("after")?;
    let after = after.map(|user| user.as_str().to_owned());
    let limit = limit(&mut params, 50, LINES_MAX)?;
    let now = call.inner.clock.timestamp();
    let line = |fact: &Fact| {
        let mut fields = sanction(fact);
        fields.push(("user".into(), fact.key.key.clone().into()));
        let is_over = fact.at.is_some_and(|at| at <= now);
        (!is_over).then(|| Value::object(fields))
    };
    let part = (FactTable::Standing, "ban", "banned");
    call.page_of(part, after, limit, line).await
}

/// The fields of a ban or a mute.
fn sanction(fact: &Fact) -> Vec<(Cow<'static, str>, Value)> {
    let mut fields = match Value::from_json(&fact.value) {
        Ok(Value::Object(fields)) => fields,
        _ => Vec::new(),
    };
    fields.extend(fact.at.map(|at| ("until".into(), at.0.into())));
    fields
}

impl Call<'_> {
    fn known_staff(&self, user: &UserId) -> Staff {
        let now = self.inner.clock.timestamp();
        let known = self.inner.moderation.standings().staff(user, now);
        known.map_or(Staff::NONE, |(staff, _)| staff)
    }

    /// The user whom the call is about, if the caller may act on them.
    async fn target(&self, params: &mut Params) -> Result<UserId, Failure> {
        self.staff(Power::ActOnUsers).await?;
        let user = params.user("user")?;
        let is_self = user == self.caller.user;
        may_act_on(self.caller.staff, self.known_staff(&user), is_self)?;
        Ok(user)
    }

    async fn sanctioned(
        &self,
        part: &str,
        user: &UserId,
        ms: Option<u64>,
        why: &str,
        mut act: Act,
    ) -> Result<Value, Failure> {
        if self.inner.moderation.standings().len() >= STANDINGS_MAX {
            return Err(Failure::new(
                ErrorCode::Conflict,
                "too many are banned or muted",
            ));
        }
        let now = self.inner.clock.timestamp();
        let until = ms.map(|ms| now.plus_ms(ms.min(MS_MAX)));
        let value = Value::object([
            ("by", Value::from(self.caller.user.as_str().to_owned())),
            ("at", now.0.into()),
            ("why", why.to_owned().into()),
        ]);
        let put = Put {
            key: standing_key(part, user),
            to: Some((value.to_json(), until)),
            was: Was::Any,
        };
        if let Some(Timestamp(until)) = until {
            act = act.with("until", until);
        }
        self.stand(act, Write::Put(put)).await
    }

    async fn pardoned(&self, part: &str, user: &UserId, act: Act) -> Result<Value, Failure> {
        self.stand(act, remove(standing_key(part, user))).await
    }

    async fn stand(&self, act: Act, write: Write) -> Result<Value, Failure> {
        let version = self.inner.another_version(List::Standings);
        let value = Value::Object(Vec::new());
        let value = self.act(&act, vec![write, version], value).await?;
        self.inner.standings_changed().await;
        Ok(value)
    }
}
