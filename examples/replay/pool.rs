//! Who is connected: one connection for each user, shared by the logs that the user is in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use imkit::core::model::{Timestamp, UserId};
use imkit::core::port::Clock as _;
use imkit::node::TokioClock;
use imkit::node::auth::JwtAuthenticator;
use tokio::sync::OnceCell;

use crate::Result;
use crate::conn::{Conn, Readings};

/// How long a token holds: longer than any replay.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3_600);

/// Opens connections.
#[derive(Debug)]
pub(crate) struct Pool {
    url: String,
    auth: JwtAuthenticator,
    open: Mutex<HashMap<UserId, Weak<OnceCell<Conn>>>>,
    pub(crate) seen: Arc<Readings>,
}

/// A user's connection, once it is open.
pub(crate) type Shared = Arc<OnceCell<Conn>>;

impl Pool {
    pub(crate) fn new(url: String, secret: &str) -> Result<Self> {
        Ok(Self {
            url,
            auth: JwtAuthenticator::hs256(secret)?,
            open: Mutex::default(),
            seen: Arc::default(),
        })
    }

    /// The user's connection; opened unless another log has it open.
    ///
    /// # Errors
    /// When it can't be opened.
    pub(crate) async fn get(&self, user: &UserId) -> Result<Shared> {
        let cell = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let known = open.get(user).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let cell = Shared::default();
                open.insert(user.clone(), Arc::downgrade(&cell));
                cell
            })
        };
        cell.get_or_try_init(|| async {
            // Whole seconds: not every server reads others.
            let now = Timestamp(TokioClock.timestamp().0 / 1_000 * 1_000);
            let token = self.auth.mint(user, now, TOKEN_TTL, None, &[])?;
            Conn::open(&self.url, token, Arc::clone(&self.seen)).await
        })
        .await?;
        Ok(cell)
    }
}
