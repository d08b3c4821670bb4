//! A batch's transaction. The driver's own would roll back what a statement has ended, which is one
//! more trip.

use sqlx::pool::PoolConnection;

use super::dialect::{Conn, Dialect};

/// A transaction on a connection of the pool. One that is dropped while it is open, since whoever
/// waited for it gave up, takes the connection with it, and the server rolls back.
pub(super) struct Tx<D: Dialect> {
    conn: PoolConnection<D::Db>,
    is_open: bool,
}

impl<D: Dialect> Tx<D> {
    pub(super) async fn begin(conn: PoolConnection<D::Db>) -> Result<Self, sqlx::Error> {
        let is_open = true;
        let mut tx = Self { conn, is_open };
        D::execute(&mut tx.conn, "BEGIN").await?;
        Ok(tx)
    }

    pub(super) fn conn(&mut self) -> &mut Conn<D> {
        &mut self.conn
    }

    /// A statement has committed it.
    pub(super) fn leave(mut self) {
        self.is_open = false;
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        D::execute(&mut self.conn, "COMMIT").await?;
        self.is_open = false;
        Ok(())
    }

    /// If that fails, the connection is no good any more.
    pub(super) async fn roll_back(mut self) {
        self.is_open = D::execute(&mut self.conn, "ROLLBACK").await.is_err();
    }
}

impl<D: Dialect> Drop for Tx<D> {
    fn drop(&mut self) {
        if self.is_open {
            self.conn.close_on_drop();
        }
    }
}
