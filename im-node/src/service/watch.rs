//! Watching who is here.

use im_core::frame::{ErrorCode, Failure, Limits};
use im_core::model::{UserId, Value, direct_id};

use super::params::Params;
use super::table::Call;
use crate::appender::port_failure;
use crate::node::Inner;
use crate::presence::presence;

/// The connection watches exactly these users from now on, as far as the caller may see them.
pub(super) async fn watch(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let users = params.users("users", Limits::WATCHED_MAX)?;
    let Some(link) = &call.caller.link else {
        return Err(Failure::new(
            ErrorCode::Unsupported,
            "only a connection can watch",
        ));
    };
    let mut seen = Vec::new();
    for user in users {
        if call.inner.may_watch(&call.caller.user, &user).await? {
            seen.push(user);
        }
    }
    call.inner.watchers.watch(link, &seen);
    let at = call.inner.clock.timestamp();
    let online = call.inner.online(&seen).await?;
    for user in &seen {
        link.send(presence(user, online.contains(user), at));
    }
    let seen: Vec<Value> = seen.iter().map(|user| user.as_str().into()).collect();
    Ok(Value::object([("users", Value::from(seen))]))
}

impl Inner {
    /// Those who share a direct conversation and don't block each other see each other.
    async fn may_watch(&self, user: &UserId, other: &UserId) -> Result<bool, Failure> {
        if user == other {
            return Ok(true);
        }
        let view = self.view(&direct_id(user, other), &[]).await?;
        Ok(view.is_some() && !self.blocks_between(user, other).await?)
    }

    async fn online(&self, users: &[UserId]) -> Result<Vec<UserId>, Failure> {
        let here = |user: &&UserId| self.hub.get(user).is_some_and(|local| local.is_online());
        let mut online: Vec<UserId> = users.iter().filter(here).cloned().collect();
        let routes = self
            .registry
            .find(users)
            .await
            .map_err(|error| port_failure(&error))?;
        online.extend(routes.into_iter().map(|route| route.user));
        Ok(online)
    }
}
