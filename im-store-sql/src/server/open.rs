//! Opening and closing, and what all calls share: the limit of time, and what errors mean.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use im_core::port::{PortError, PortErrorKind};
use parking_lot::Mutex;
use sqlx::pool::PoolOptions;
use tokio::sync::Semaphore;

use super::dialect::{Conn, Dialect};
use super::row::{Fields, Row};
use super::statement::Statement;
use super::{ServerOptions, ServerStore, Shared};
use crate::address::redacted;
use crate::error::OpenError;
use crate::migrate::migrate;

impl<D: Dialect> ServerStore<D> {
    /// Opens a store, and makes or updates its tables:
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or `mysql://…`. TLS and more by the driver's
    /// own parameters, such as `?sslmode=require`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn connect(address: &str) -> Result<Self, OpenError> {
        Self::connect_with(address, ServerOptions::default()).await
    }

    /// Opens a store with other settings than the defaults.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn connect_with(address: &str, options: ServerOptions) -> Result<Self, OpenError> {
        if !D::SCHEMES.iter().any(|scheme| address.starts_with(scheme)) {
            return Err(OpenError::Address(redacted(address)));
        }
        let pool = PoolOptions::new()
            .max_connections(options.connections.max(2))
            .acquire_timeout(Duration::from_millis(options.timeout_ms))
            .test_before_acquire(false);
        let limit = Duration::from_millis(options.timeout_ms);
        let opening = async {
            let pool = D::connect(address, &options, pool).await?;
            let conn: &mut Conn<D> = &mut *pool.acquire().await?;
            migrate(conn, D::MIGRATIONS).await?;
            let place = Statement::new("SELECT one FROM im_meta WHERE shard IS NOT NULL");
            let is_shard = !D::fetch(conn, place).await?.is_empty();
            Ok::<_, OpenError>((pool, AtomicBool::new(is_shard)))
        };
        let (pool, is_shard) = tokio::time::timeout(limit, opening)
            .await
            .map_err(|_| OpenError::Silent(limit))??;
        let shared = Arc::new(Shared {
            searching: Semaphore::new(options.connections as usize / 4 + 1),
            pool,
            options,
            is_shard,
            texted: Mutex::default(),
        });
        Ok(Self { shared })
    }

    /// Closes the connections. Calls that come later are refused.
    pub async fn close(&self) {
        self.shared.pool.close().await;
    }
}

impl<D: Dialect> Shared<D> {
    /// A call that gets no answer in time is given up.
    pub(super) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        let limit = Duration::from_millis(self.options.timeout_ms);
        self.within_for(limit, call).await
    }

    /// The same, for a call that may take longer.
    pub(super) async fn within_for<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        match tokio::time::timeout(limit, call).await {
            Ok(done) => done,
            Err(_) => Err(PortError::with_source(
                PortErrorKind::Unavailable,
                format!("{} gave no answer in {limit:?}", D::NAME),
            )),
        }
    }

    /// The rows of a statement that stands alone.
    pub(super) async fn fetch(&self, statement: Statement) -> Result<Vec<Fields>, PortError> {
        let mut conn = self.pool.acquire().await.map_err(port_error::<D>)?;
        let rows: Vec<Row> = D::fetch(&mut conn, statement)
            .await
            .map_err(port_error::<D>)?;
        Ok(rows.into_iter().map(Fields::from).collect())
    }
}

/// What the driver says, as the port says it.
pub(super) fn port_error<D: Dialect>(error: sqlx::Error) -> PortError {
    let kind = match &error {
        sqlx::Error::Database(database) => D::kind(database.as_ref()),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => PortErrorKind::Unavailable,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => PortErrorKind::Corrupt,
        _ => PortErrorKind::Internal,
    };
    PortError::with_source(kind, error)
}
