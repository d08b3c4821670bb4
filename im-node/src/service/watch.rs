//! Watching who is here.

use im_core::frame::{ErrorCode, Failure, Limits};
use im_core::model::Value;

use super::params::Params;
use super::table::Call;
use crate::appender::port_failure;

/// The connection watches exactly these users from now on, as far as the caller may see them.
pub(super) async fn watch(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let users = params.users("users", Limits::WATCHED_MAX)?;
    let Some(link) = &call.caller.link else {
        return Err(Failure::new(
            ErrorCode::Unsupported,
            "only a connection can watch",
        ));
    };
    let watchers = &call.inner.watchers;
    let mut asked = watchers.watch(link, &users);
    let mut seen = Vec::new();
    for user in users {
        // Once the connection is among those who watch: a block meanwhile ends that.
        if call.inner.may_watch(&call.caller.user, &user).await? {
            seen.push(user);
        } else {
            watchers.end(link, &user);
        }
    }
    asked.retain(|asked| seen.binary_search(&asked.user).is_ok());
    let at = call.inner.clock.timestamp();
    let online = call.inner.online(&seen).await;
    let online = online.map_err(|error| port_failure(&error))?;
    for asked in &asked {
        let is_online = online.contains(&asked.user);
        let at = match is_online {
            true => at,
            false => call.inner.seen_at(&asked.user).await?,
        };
        watchers.answer(link, asked, is_online, at);
    }
    let seen: Vec<Value> = seen.iter().map(|user| user.as_str().into()).collect();
    Ok(Value::object([("users", Value::from(seen))]))
}
