//! The rules of a group or channel, and who comes in by themselves.

use im_core::frame::Failure;
use im_core::model::{
    Body, ConversationId, ConversationKind, FactKey, FactTable, Kind, Member, Role, Value,
};
use im_core::port::{MemberOp, View, Write};
use im_core::rule::{Action, MemberEventOp};

use super::decide::{Plan, change, plan, sees};
use super::facts::{put_on, set as set_fact};
use super::groups::{begin, title};
use super::params::{Params, bad};
use super::table::Call;

/// What is kept of a conversation that anybody may join.
const OPEN: &str = "\"open\"";

pub(super) fn join_key(conv: &ConversationId) -> FactKey {
    FactKey::new(FactTable::Rule, conv.as_str(), "join")
}

/// `groups.set`: title and rules. What is not given stays.
pub(super) async fn set(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let title = match params.opt_text("title")? {
        Some(text) => Some(title(call.inner, text)?),
        None => None,
    };
    let speaks = match params.opt_text("speaks")? {
        Some(role) => Some(
            Role::parse(&role).ok_or_else(|| bad("speaks", "must be owner, admin or member"))?,
        ),
        None => None,
    };
    let hide_history = params.opt_flag("hide_history")?;
    let open = match params.opt_text("join")?.as_deref() {
        None => None,
        Some("open") => Some(true),
        Some("invite") => Some(false),
        Some(_) => return Err(bad("join", "must be open or invite")),
    };
    change(&call, &conv, &[], |view: &View, me: Option<&Member>| {
        call.authorize(Action::Configure, view, me)?;
        let mut fields = vec![("op", Value::from("set"))];
        // One rule at least, so that the entry is one that moves the version.
        let mut writes = vec![Write::Speaks(speaks.unwrap_or(view.conversation.speaks))];
        if let Some(title) = &title {
            fields.push(("title", title.as_str().into()));
            writes.push(Write::Title(Some(title.clone())));
        }
        fields.extend(speaks.map(|role| ("speaks", role.as_str().into())));
        if let Some(hide) = hide_history {
            fields.push(("hide_history", hide.into()));
            writes.push(Write::HideHistory(hide));
        }
        if let Some(open) = open {
            let word = if open { "open" } else { "invite" };
            fields.push(("join", word.into()));
            writes.push(set_fact(join_key(&conv), Value::from(word).to_json()));
        }
        let body = Body::of(Kind::Group, fields);
        Ok((writes.len() > 1 || speaks.is_some()).then_some(Plan { body, writes }))
    })
    .await
}

/// `groups.join`: comes in where anybody may.
pub(super) async fn join(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let rule = call.inner.fact(&join_key(&conv)).await?;
    let rule = rule.filter(|fact| fact.value == OPEN);
    change(&call, &conv, &[], |view: &View, me: Option<&Member>| {
        let open = rule.is_some();
        call.authorize(Action::Join { open }, view, me)?;
        if me.is_some_and(Member::is_in) {
            return Ok(None);
        }
        let first = sees(view);
        let role = Role::Member;
        let me = vec![call.caller.user.clone()];
        let mut made = plan(MemberEventOp::Join, MemberOp::Add { role, first }, me);
        if let (Some(made), Some(rule)) = (&mut made, &rule) {
            made.writes
                .push(put_on(rule, Some((rule.value.clone(), rule.at))));
        }
        Ok(made)
    })
    .await
}

/// `channels.create`: a conversation in which few write and many read.
pub(super) async fn create_channel(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let title = title(call.inner, params.text("title")?)?;
    let open = params.flag("open")?;
    let conv = call.new_group().await?;
    let mut writes = begin(&call, ConversationKind::Channel, title, false, Vec::new());
    if open {
        writes.push(set_fact(join_key(&conv), OPEN.to_owned()));
    }
    let value = Value::object([("conv", Value::from(conv.as_str()))]);
    call.commit(conv, writes, value).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_an_open_group_is_what_is_looked_for() {
        assert_eq!(Value::from("open").to_json(), OPEN);
    }
}
