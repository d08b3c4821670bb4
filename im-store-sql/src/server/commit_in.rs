//! A commit inside the host program's own transaction.

use std::sync::atomic::Ordering;

use im_core::port::{Commit, Committed, PortError, PortErrorKind, Rejected};

use super::ServerStore;
use super::commit::{Broken, decide_and_write};
use super::dialect::{Conn, Dialect};
use super::fence::moved;
use super::load::{Ids, Reads};
use super::open::port_error;

impl<D: Dialect> ServerStore<D> {
    /// Applies a commit inside a transaction of the host program's on this store's database: a
    /// business row and a message become visible together or not at all. Nodes hear of it by their
    /// sweep, or at once by `Node::notice`, which is to be called after the transaction committed.
    ///
    /// Call it last. From here on until the transaction ends, sends to the same conversation wait;
    /// on MySQL all other commits of this database do; and on PostgreSQL lists and sweeps go on
    /// from before it: what changed since is read each time, and refused where that is more than a
    /// page.
    ///
    /// # Errors
    /// [`Rejected`]: nothing was written. After [`Rejected::Store`] the transaction must be rolled
    /// back; when it [is retryable](PortError::is_retryable), the whole transaction may be run
    /// again: another one was in the way.
    pub async fn commit_in(
        &self,
        conn: &mut Conn<D>,
        commit: &Commit,
    ) -> Result<Committed, Rejected> {
        let batch = std::slice::from_ref(commit);
        let is_shard = self.shared.is_shard.load(Ordering::Acquire);
        let answers = decide_and_write::<D>(conn, batch, Reads::Locked, Ids::Asked, is_shard).await;
        let answers = answers.map_err(|broken| match broken {
            Broken::Sql(error) if D::is_in_the_way(&error) => {
                PortError::with_source(PortErrorKind::Unavailable, error)
            }
            Broken::Sql(error) => port_error::<D>(error),
            Broken::Port(error) => error,
            Broken::Moved => moved(),
        })?;
        let answer = answers.0.into_iter().next();
        answer.unwrap_or_else(|| Err(PortError::new(PortErrorKind::Internal).into()))
    }
}
