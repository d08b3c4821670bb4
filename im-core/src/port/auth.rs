//! Who is it?

use std::fmt::Debug;

use async_trait::async_trait;

use crate::model::{Timestamp, UserId};

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who (`sub`).
    pub user: UserId,
    /// The name to show (`name`).
    pub name: Option<String>,
    /// Roles that the embedder gave (`roles`).
    pub roles: Vec<String>,
    /// When the token ends (`exp`).
    pub expires_at: Timestamp,
}

/// Why a token is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Bad in any way; the words are for the server's log, never for the client.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// It could not be checked now.
    #[error("the token can't be checked now")]
    Unavailable,
}

/// Checks tokens.
#[async_trait]
pub trait Authenticator: Debug + Send + Sync + 'static {
    /// Who a token speaks for at `now`.
    ///
    /// # Errors
    /// When it is not good, or can't be checked.
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError>;
}
