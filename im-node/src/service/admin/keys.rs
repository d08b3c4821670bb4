//! Keys of programs, as the staff makes and ends them.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{FactTable, Timestamp, Value};
use im_core::port::Write;
use im_core::rule::Power;

use super::{Act, limit, why};
use crate::appender::port_failure;
use crate::keys::{self, ApiKey, KEYS_MAX, KeyError, METHODS_MAX, NewKey};
use crate::service::facts::remove;
use crate::service::params::{Params, bad};
use crate::service::table::Call;

/// Keys given at once.
const LINES_MAX: usize = 200;

/// `admin.keys.add`: makes a key, and shows it this once. A retry of the request is told its id,
/// and not the key.
pub(in crate::service) async fn add(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::Keys).await?;
    let new = NewKey {
        name: params.text("name")?,
        user: params.user("user")?,
        methods: params.texts("methods", METHODS_MAX)?,
        expires_at: params
            .opt_count("expires_at")?
            .map(|at| Timestamp(i64::try_from(at).unwrap_or(i64::MAX))),
    };
    let why = why(&mut params)?;
    let made = keys::all(&*call.inner.store).await;
    if made.map_err(|error| port_failure(&error))?.len() >= KEYS_MAX {
        return Err(refused(KeyError::TooMany));
    }
    let drawn = keys::draw(new, call.inner.clock.timestamp()).map_err(refused)?;
    let id = drawn.key.id.as_str();
    let act = Act::new("keys.add")
        .user(&drawn.key.user)
        .with("key", id.to_owned())
        .with("why", why);
    let value = Value::object([("id", Value::from(id))]);
    let mut value = call.act(&act, vec![Write::Put(drawn.put)], value).await?;
    // Beside what was kept as the request's answer, which must not hold it.
    if value.get("id").and_then(Value::as_text) == Some(id) {
        value = Value::object([("id", Value::from(id)), ("key", drawn.text.into())]);
    }
    Ok(value)
}

/// `admin.keys.list`: the keys, by id, without what is secret about them.
pub(in crate::service) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::Keys).await?;
    let after = params.opt_text("after")?;
    let limit = limit(&mut params, 50, LINES_MAX)?;
    let table = (FactTable::ApiKey, "", "keys");
    let line = |fact: &_| ApiKey::read(fact).map(|(key, _)| key_line(&key));
    call.page_of(table, after, limit, line).await
}

fn key_line(key: &ApiKey) -> Value {
    let methods: Vec<Value> = key.methods.iter().map(|one| one.as_str().into()).collect();
    let mut fields = vec![
        ("id", Value::from(key.id.as_str())),
        ("name", key.name.as_str().into()),
        ("user", key.user.as_str().into()),
        ("methods", methods.into()),
        ("made_at", key.made_at.0.into()),
    ];
    fields.extend(key.expires_at.map(|at| ("expires_at", at.0.into())));
    Value::object(fields)
}

/// `admin.keys.revoke`: a key is good no more.
pub(in crate::service) async fn revoke(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::Keys).await?;
    let id = params.text("id")?;
    let why = why(&mut params)?;
    let key = keys::fact_key(&id);
    let known = match key.place() {
        Some(_) => call.inner.fact(&key).await?,
        None => None,
    };
    if known.is_none() {
        return Err(Failure::new(ErrorCode::NotFound, "no such key"));
    }
    let act = Act::new("keys.revoke").with("key", id).with("why", why);
    let value = Value::Object(Vec::new());
    call.act(&act, vec![remove(key)], value).await
}

fn refused(error: KeyError) -> Failure {
    match error {
        KeyError::Bad(field, what) => bad(field, what),
        KeyError::TooMany => Failure::new(ErrorCode::Conflict, "there are too many keys"),
        KeyError::Store(error) => port_failure(&error),
    }
}
