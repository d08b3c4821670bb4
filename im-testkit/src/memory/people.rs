//! Tokens, users and hooks without a server behind them.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use im_core::model::{Body, ConversationId, Draft, Timestamp, UserId};
use im_core::port::{
    AuthError, Authenticator, Directory, Hooks, Identity, PortError, Standing, Verdict,
};
use parking_lot::Mutex;

/// An [`Authenticator`] of fixed tokens, for tests: a token is good when it stands in the table
/// and has not ended.
#[derive(Default)]
pub struct TokenTable {
    tokens: Mutex<BTreeMap<String, Identity>>,
}

impl TokenTable {
    /// No token is good.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Each of these users has their own id as a token that does not end.
    #[must_use]
    pub fn of_users<'a>(users: impl IntoIterator<Item = &'a UserId>) -> Self {
        let table = Self::new();
        for user in users {
            table.insert(
                user.as_str(),
                Identity {
                    user: user.clone(),
                    name: None,
                    roles: Vec::new(),
                    expires_at: Timestamp(i64::MAX),
                },
            );
        }
        table
    }

    /// Makes a token good, until the identity's `expires_at`.
    pub fn insert(&self, token: impl Into<String>, identity: Identity) {
        self.tokens.lock().insert(token.into(), identity);
    }

    /// Ends a token.
    pub fn remove(&self, token: &str) {
        self.tokens.lock().remove(token);
    }
}

impl fmt::Debug for TokenTable {
    /// How many tokens there are, not which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.tokens.lock().len();
        f.debug_struct("TokenTable").field("count", &count).finish()
    }
}

#[async_trait]
impl Authenticator for TokenTable {
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let tokens = self.tokens.lock();
        let invalid = |why: &str| AuthError::Invalid(why.to_owned());
        let identity = tokens.get(token).ok_or_else(|| invalid("unknown"))?;
        if identity.expires_at <= now {
            return Err(invalid("expired"));
        }
        Ok(identity.clone())
    }
}

/// A [`Directory`] in memory: everybody is in good standing who is not set otherwise.
#[derive(Debug, Default)]
pub struct MemoryDirectory {
    standing: Mutex<BTreeMap<UserId, Standing>>,
}

impl MemoryDirectory {
    /// Everybody is in good standing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one user's standing.
    pub fn set(&self, user: &UserId, standing: Standing) {
        self.standing.lock().insert(user.clone(), standing);
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    async fn standing(&self, users: &[UserId]) -> Result<Vec<Standing>, PortError> {
        let standing = self.standing.lock();
        let of = |user| standing.get(user).copied().unwrap_or(Standing::Active);
        Ok(users.iter().map(of).collect())
    }
}

/// [`Hooks`] from a closure.
///
/// ```
/// use im_core::model::Body;
/// use im_core::port::Verdict;
/// use im_testkit::memory::FnHooks;
///
/// let hooks = FnHooks::new(|_from, _conv, draft| match draft.body.as_text() {
///     Some(text) if text.contains("darn") => Verdict::Rewrite(Body::text("…")),
///     _ => Verdict::Accept,
/// });
/// ```
pub struct FnHooks<F>(F);

impl<F> FnHooks<F>
where
    F: Fn(&UserId, &ConversationId, &Draft) -> Verdict + Send + Sync + 'static,
{
    /// Hooks that ask `verdict` before each message.
    #[must_use]
    pub const fn new(verdict: F) -> Self {
        Self(verdict)
    }
}

impl FnHooks<fn(&UserId, &ConversationId, &Draft) -> Verdict> {
    /// Hooks that accept every message.
    #[must_use]
    pub const fn accepting() -> Self {
        Self(|_, _, _| Verdict::Accept)
    }

    /// Hooks that hide every text.
    #[must_use]
    pub const fn hiding() -> Self {
        Self(|_, _, draft| match draft.body.as_text() {
            Some(_) => Verdict::Rewrite(Body::text("…")),
            None => Verdict::Accept,
        })
    }
}

impl<F> fmt::Debug for FnHooks<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnHooks")
    }
}

#[async_trait]
impl<F> Hooks for FnHooks<F>
where
    F: Fn(&UserId, &ConversationId, &Draft) -> Verdict + Send + Sync + 'static,
{
    async fn before_send(&self, from: &UserId, conv: &ConversationId, draft: &Draft) -> Verdict {
        (self.0)(from, conv, draft)
    }
}
