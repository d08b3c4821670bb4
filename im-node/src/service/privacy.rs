//! Who may see whether a user is here, and when they were last.

use std::sync::Arc;

use im_core::frame::Failure;
use im_core::model::{FactKey, FactTable, Timestamp, UserId, Value, direct_id};

use super::facts::set;
use super::friends::friend_key;
use super::params::{Params, bad};
use super::table::Call;
use crate::link::Link;
use crate::node::Inner;
use crate::router::BusMessage;

/// Who may see whether a user is here. It goes both ways: who shows it to few sees it of few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Those with whom they have a direct conversation.
    Contacts,
    /// Of those, their friends.
    Friends,
    Nobody,
}

impl Shown {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Contacts => "contacts",
            Self::Friends => "friends",
            Self::Nobody => "nobody",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Contacts, Self::Friends, Self::Nobody];
        all.into_iter().find(|shown| shown.as_str() == text)
    }
}

fn key(user: &UserId) -> FactKey {
    FactKey::new(FactTable::Privacy, user.as_str(), "presence")
}

fn seen_key(user: &UserId) -> FactKey {
    FactKey::new(FactTable::Seen, user.as_str(), "")
}

/// `privacy.get`: what of the caller others may see.
pub(super) async fn get(call: Call<'_>, _: Params) -> Result<Value, Failure> {
    let shown = call.inner.shown(&call.caller.user).await?;
    Ok(Value::object([("presence", Value::from(shown.as_str()))]))
}

/// `privacy.set`: who may see whether the caller is here; who may no longer is told "offline".
pub(super) async fn put(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let text = params.text("presence")?;
    let Some(shown) = Shown::parse(&text) else {
        return Err(bad("presence", "must be contacts, friends or nobody"));
    };
    let user = &call.caller.user;
    let value = call
        .put_own(vec![set(key(user), shown.as_str().to_owned())])
        .await?;
    call.inner.watch_anew(user);
    Ok(value)
}

impl Inner {
    async fn shown(&self, user: &UserId) -> Result<Shown, Failure> {
        let known = self.fact(&key(user)).await?;
        // Of what a newer version wrote, nothing is shown.
        Ok(known.map_or(Shown::Contacts, |fact| {
            Shown::parse(&fact.value).unwrap_or(Shown::Nobody)
        }))
    }

    /// Whether a user may see whether another one is here: they have a direct conversation and no
    /// block between them, and both show it to the other.
    pub(super) async fn may_watch(&self, user: &UserId, other: &UserId) -> Result<bool, Failure> {
        if user == other {
            return Ok(true);
        }
        let view = self.view(&direct_id(user, other), &[]).await?;
        if view.is_none() || self.blocks_between(user, other).await? {
            return Ok(false);
        }
        let both = [self.shown(user).await?, self.shown(other).await?];
        if both.contains(&Shown::Nobody) {
            return Ok(false);
        }
        let friends = both.contains(&Shown::Friends);
        Ok(!friends || self.fact(&friend_key(user, other)).await?.is_some())
    }

    /// Who may see whether a user is here, and whom that one may see, has changed.
    pub(super) fn watch_anew(self: &Arc<Self>, user: &UserId) {
        self.publish(&BusMessage::Watch { user: user.clone() });
        self.unwatch(user.clone());
    }

    /// Ends the watching on this node that is allowed no more. Of what can't be read, nothing is
    /// shown. However often a user changes their mind, it is one task that looks.
    pub(crate) fn unwatch(self: &Arc<Self>, user: UserId) {
        if !self.watchers.begin_look(&user) {
            return;
        }
        let inner = Arc::clone(self);
        self.spawn(async move {
            loop {
                let own = inner.hub.get(&user).map(|local| local.links());
                for (link, watched) in inner.watchers.around(&user, &own.unwrap_or_default()) {
                    let allowed = inner.still_watches(&link, &watched).await;
                    if !allowed.unwrap_or(false) {
                        inner.watchers.end(&link, &watched);
                    }
                }
                if !inner.watchers.end_look(&user) {
                    break;
                }
            }
        });
    }

    /// Whether the user of a connection may watch another one.
    async fn still_watches(&self, link: &Link, watched: &UserId) -> Result<bool, Failure> {
        match link.who() {
            Some((who, _)) => self.may_watch(who, watched).await,
            None => Ok(false),
        }
    }

    /// Ends what of these is allowed no more.
    ///
    /// # Errors
    /// When something can't be read: what comes after it was not looked at.
    pub(crate) async fn end_forbidden(
        &self,
        pairs: Vec<(Arc<Link>, UserId)>,
    ) -> Result<(), Failure> {
        for (link, watched) in pairs {
            if !self.still_watches(&link, &watched).await? {
                self.watchers.end(&link, &watched);
            }
        }
        Ok(())
    }

    /// When a user was here last; 0 when that is not known.
    pub(super) async fn seen_at(&self, user: &UserId) -> Result<Timestamp, Failure> {
        let known = self.fact(&seen_key(user)).await?;
        let at = known.and_then(|fact| fact.value.parse().ok());
        Ok(Timestamp(at.unwrap_or(0)))
    }

    /// Keeps that a user was here until now. Where the store is away it is lost.
    pub(crate) async fn keep_seen(&self, user: &UserId, at: Timestamp) {
        let key = seen_key(user);
        let Some(conv) = key.place() else { return };
        let commit = im_core::port::Commit {
            conv,
            expect_version: None,
            actor: None,
            writes: vec![set(key, at.0.to_string())],
        };
        if self.appender.commit(commit).await.is_err() {
            tracing::debug!("when somebody was here last was not kept");
        }
    }
}
