//! Coming in by oneself: by an open door, or by a link.

use im_core::frame::Failure;
use im_core::model::{Role, Value};
use im_core::port::{MemberOp, Rejected};
use im_core::rule::{Action, MemberEventOp};

use super::bans::ban_key;
use super::decide::{DECIDE_TRIES_MAX, Known, Plan, nothing, plan, sees};
use super::facts::remove;
use super::params::Params;
use super::requests::request_key;
use super::rules::Door;
use super::table::Call;
use crate::appender::failure;

/// `groups.join`: comes in where anybody may.
pub(super) async fn join(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, &[]).await?;
        let open = known.rules.door == Door::Open;
        let Some(plan) = call.enter(&known, open).await? else {
            return Ok(nothing());
        };
        if let Some(value) = call.carry(&known, plan, nothing()).await? {
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

impl Call<'_> {
    /// What makes the caller a member, if `open` lets them in; nothing when they are one.
    pub(super) async fn enter(&self, known: &Known, open: bool) -> Result<Option<Plan>, Failure> {
        let conv = &known.view.conversation.id;
        let user = &self.caller.user;
        // A ban moves the version, so one that is not there now is not there at the commit.
        let banned = self.inner.fact(&ban_key(conv, user)).await?.is_some();
        self.may(Action::Join { open, banned }, known)?;
        if known.find_in(user).is_some() {
            return Ok(None);
        }
        self.inner.has_seats(&known.view, &known.rules, 1)?;
        let op = MemberOp::Add {
            role: Role::Member,
            first: sees(&known.view),
        };
        let mut made = plan(MemberEventOp::Join, op, vec![user.clone()]);
        if let Some(made) = &mut made {
            made.writes.push(remove(request_key(conv, user)));
        }
        Ok(made)
    }
}
