//! Who is connected: one connection for each user, shared by the logs that the user is in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imkit::core::model::{Timestamp, UserId};
use imkit::core::port::Clock as _;
use imkit::node::TokioClock;
use imkit::node::auth::JwtAuthenticator;

use crate::Result;
use crate::conn::Conn;
use crate::dial::Dial;
use crate::ear::Readings;

/// How long a token holds: longer than any replay.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3_600);

/// A user's place. Who opens or closes the connection holds the lock meanwhile, so that a user
/// never has two.
#[derive(Debug, Default)]
struct Seat {
    /// Logs that want the connection. Changed under the lock of the pool.
    wanted: usize,
    conn: Arc<tokio::sync::Mutex<Option<Arc<Conn>>>>,
}

/// Opens connections, and closes those that no log needs any more.
#[derive(Debug)]
pub(crate) struct Pool {
    url: String,
    auth: JwtAuthenticator,
    seats: Mutex<HashMap<UserId, Seat>>,
    pub(crate) seen: Arc<Readings>,
    /// The server has welcomed somebody.
    was_there: AtomicBool,
    /// How often connections were lost and made again.
    pub(crate) remade: Arc<AtomicU64>,
    /// This run's own, for the keys of requests.
    pub(crate) run: String,
}

impl Pool {
    pub(crate) fn new(url: &str, secret: &str) -> Result<Self> {
        let run = format!("{}-{}", TokioClock.timestamp().0, std::process::id());
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            auth: JwtAuthenticator::hs256(secret)?,
            seats: Mutex::default(),
            seen: Arc::default(),
            was_there: AtomicBool::new(false),
            remade: Arc::default(),
            run,
        })
    }

    /// The user's connection; opened unless another log has it open. To be
    /// [released](Self::release).
    ///
    /// # Errors
    /// When it can't be opened.
    pub(crate) async fn get(&self, user: &UserId) -> Result<Arc<Conn>> {
        let place = {
            let mut seats = self.seats();
            let seat = seats.entry(user.clone()).or_default();
            seat.wanted += 1;
            Arc::clone(&seat.conn)
        };
        let mut place = place.lock().await;
        if let Some(conn) = &*place {
            return Ok(Arc::clone(conn));
        }
        // Whole seconds: not every server reads others.
        let now = Timestamp(TokioClock.timestamp().0 / 1_000 * 1_000);
        let dial = Dial {
            url: self.url.clone(),
            user: user.clone(),
            token: self.auth.mint(user, now, TOKEN_TTL, None, &[])?,
        };
        let (seen, remade) = (Arc::clone(&self.seen), Arc::clone(&self.remade));
        let patiently = self.was_there.load(Ordering::Relaxed);
        let opened = Conn::open(dial, patiently, seen, remade).await;
        let conn = Arc::new(opened.map_err(|over| over.to_string())?);
        self.was_there.store(true, Ordering::Relaxed);
        *place = Some(Arc::clone(&conn));
        Ok(conn)
    }

    /// A log is done with the user's connection: it is closed unless another log has it.
    pub(crate) async fn release(&self, user: &UserId) {
        let place = {
            let mut seats = self.seats();
            let Some(seat) = seats.get_mut(user) else {
                return;
            };
            seat.wanted -= 1;
            Arc::clone(&seat.conn)
        };
        let mut place = place.lock().await;
        let unwanted = self.seats().get(user).is_some_and(|seat| seat.wanted == 0);
        if unwanted && let Some(conn) = place.take() {
            conn.close().await;
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<UserId, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
