//! The embedder's own users.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::PortError;
use crate::model::UserId;

/// What the embedder says of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A user in good standing.
    Active,
    /// Shut out: may not connect (4403) nor act.
    Banned,
    /// No such user: can't be written to or added.
    Unknown,
}

/// The embedder's own users.
#[async_trait]
pub trait Directory: Debug + Send + Sync + 'static {
    /// The standing of each, in the order asked.
    async fn standing(&self, users: &[UserId]) -> Result<Vec<Standing>, PortError>;
}
