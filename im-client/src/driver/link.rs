//! The connection: opening, signs of life, renewing the token, and what its end means.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_core::frame::{Bye, ClientFrame, RequestId, ServerFrame};
use im_core::model::{Timestamp, Value};

use crate::builder::Config;
use crate::error::{Cause, ConnectError, Stopped};
use crate::socket::{NO_CODE, Received, Socket};

/// How long a `pong` may take.
const PONG_MAX: Duration = Duration::from_secs(10);
/// A connection that lived so long was a good one: the next wait begins at the shortest.
const STABLE: Duration = Duration::from_secs(5);
/// The longest wait that a `bye` may ask for.
const BYE_WAIT_MAX: Duration = Duration::from_secs(300);
/// A token is renewed so long before it ends, or in the last quarter of a short life.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// When a token can't be renewed, so much later again.
const RENEW_AGAIN: Duration = Duration::from_secs(10);
/// So many refusals in a row end the client: with a provider, and with a fixed token (whose first
/// refusal may have been a slow `hello`).
const UNAUTHENTICATED_MAX: u32 = 3;
const UNAUTHENTICATED_FIXED_MAX: u32 = 2;
/// How long a connection that the server did not close may come to its end there: it may be read
/// only now, by a node that stood still, and be taken for the device's latest.
const GHOST_MAX: Duration = Duration::from_secs(120);
/// The id of `auth`.
const AUTH_ID: &str = "auth";

type Opening = Pin<Box<dyn Future<Output = Result<Socket, ConnectError>> + Send>>;
type Renewing = Pin<Box<dyn Future<Output = Result<String, Cause>> + Send>>;

/// How the connection stands.
pub(super) enum Link {
    Down { until: Instant },
    Opening(Opening),
    Up(Box<Up>),
}

/// A connection that is up.
pub(super) struct Up {
    pub(super) socket: Socket,
    /// What is to be sent beside the machines' frames.
    pub(super) control: VecDeque<ClientFrame>,
    since: Instant,
    heartbeat: Duration,
    heard: Instant,
    pong_until: Option<Instant>,
    bye: Option<Bye>,
    renew_at: Option<Instant>,
    renewing: Option<Renewing>,
}

/// What a connection brings.
pub(super) enum Happened {
    Opened(Box<Result<Socket, ConnectError>>),
    Received(Received),
    Renewed(Result<String, Cause>),
}

impl Link {
    /// What comes next; losing the future loses nothing.
    pub(super) async fn next(&mut self) -> Happened {
        match self {
            // The driver's own timer ends this.
            Self::Down { .. } => std::future::pending().await,
            Self::Opening(opening) => Happened::Opened(Box::new(opening.await)),
            Self::Up(up) => up.next().await,
        }
    }

    pub(super) fn up(&mut self) -> Option<&mut Up> {
        match self {
            Self::Up(up) => Some(up),
            Self::Down { .. } | Self::Opening(_) => None,
        }
    }

    /// Opens a connection when it is time to.
    pub(super) fn open_if_due(&mut self, now: Instant, config: &Arc<Config>) {
        if matches!(self, Self::Down { until } if *until <= now) {
            let config = Arc::clone(config);
            *self = Self::Opening(Box::pin(async move { Socket::open(&config).await }));
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Down { until } => Some(*until),
            Self::Opening(_) => None,
            Self::Up(up) => {
                let heard = up.pong_until.unwrap_or(up.heard + up.heartbeat);
                Some(up.renew_at.map_or(heard, |at| at.min(heard)))
            }
        }
    }
}

impl Up {
    pub(super) fn new(now: Instant, socket: Socket, renews: bool) -> Self {
        let welcome = &socket.welcome;
        let heartbeat = Duration::from_millis(welcome.heartbeat_ms.max(1));
        let renew_at = renews.then(|| renew_at(now, welcome.now, welcome.expires_at));
        Self {
            control: VecDeque::new(),
            since: now,
            heartbeat,
            heard: now,
            pong_until: None,
            bye: None,
            renew_at,
            renewing: None,
            socket,
        }
    }

    async fn next(&mut self) -> Happened {
        let Some(renewing) = &mut self.renewing else {
            return Happened::Received(self.socket.receive().await);
        };
        tokio::select! {
            received = self.socket.receive() => Happened::Received(received),
            renewed = renewing => Happened::Renewed(renewed),
        }
    }

    /// Anything came.
    pub(super) fn handle_alive(&mut self, now: Instant) {
        self.heard = now;
        self.pong_until = None;
    }

    /// A frame came: those that are about the connection itself.
    pub(super) fn handle_frame(&mut self, now: Instant, frame: &ServerFrame) {
        let is_auth = |id: &RequestId| matches!(id, RequestId::Text(text) if text == AUTH_ID);
        match frame {
            ServerFrame::Bye(bye) => self.bye = Some(*bye),
            ServerFrame::Res { id, value } if is_auth(id) => {
                let expires_at = value.get("expires_at").and_then(Value::as_int);
                let passed = now.saturating_duration_since(self.since).as_millis();
                let passed = u64::try_from(passed).unwrap_or(u64::MAX);
                let server_now = self.socket.welcome.now.plus_ms(passed);
                self.renew_at = expires_at.map(|at| renew_at(now, server_now, Timestamp(at)));
            }
            ServerFrame::Err(err) if err.id.as_ref().is_some_and(is_auth) => {
                tracing::warn!(failure = %err.failure, "the server refused a renewed token");
                self.renew_at = Some(now + RENEW_AGAIN);
            }
            _ => {}
        }
    }

    pub(super) fn handle_renewed(&mut self, now: Instant, renewed: Result<String, Cause>) {
        self.renewing = None;
        match renewed {
            Ok(token) => {
                let id = RequestId::Text(AUTH_ID.to_owned());
                self.control.push_back(ClientFrame::Auth { id, token });
            }
            Err(error) => {
                tracing::warn!(error = &*error, "the token provider failed");
                self.renew_at = Some(now + RENEW_AGAIN);
            }
        }
    }

    /// Time has passed. Answers whether the connection is dead.
    pub(super) fn handle_timeout(&mut self, now: Instant, config: &Arc<Config>) -> bool {
        if self.renew_at.is_some_and(|at| at <= now) && self.renewing.is_none() {
            self.renew_at = None;
            let token = config.token.clone();
            self.renewing = Some(Box::pin(async move { token.get().await }));
        }
        match self.pong_until {
            Some(until) => until <= now,
            None => {
                if self.heard + self.heartbeat <= now {
                    self.pong_until = Some(now + PONG_MAX);
                    self.control.push_back(ClientFrame::Ping { id: None });
                }
                false
            }
        }
    }
}

/// When to connect again, by how connections ended.
#[derive(Debug)]
pub(super) struct Reconnect {
    rng: fastrand::Rng,
    failures: u32,
    unauthenticated: u32,
    /// When a connection of this device was lost that the server has not closed. It can replace a
    /// later one, once.
    ghost: Option<Instant>,
}

impl Reconnect {
    /// The process before this one may have left a connection, too.
    pub(super) const fn new(now: Instant, rng: fastrand::Rng) -> Self {
        Self {
            rng,
            failures: 0,
            unauthenticated: 0,
            ghost: Some(now),
        }
    }

    pub(super) const fn handle_welcome(&mut self) {
        self.unauthenticated = 0;
    }

    /// A connection could not be made.
    pub(super) fn handle_failed(
        &mut self,
        now: Instant,
        config: &Config,
        error: &ConnectError,
    ) -> Result<Duration, Stopped> {
        match error {
            ConnectError::Closed { code, reason } => {
                self.note_ghost(now, *code);
                self.wait(now, config, *code, reason, None)
            }
            ConnectError::Http(401) => self.wait(now, config, 4401, "HTTP 401", None),
            _ => {
                self.note_ghost(now, NO_CODE);
                Ok(self.backoff(config))
            }
        }
    }

    /// A connection that was up has ended.
    pub(super) fn handle_ended(
        &mut self,
        now: Instant,
        config: &Config,
        up: &Up,
        code: u16,
        reason: &str,
    ) -> Result<Duration, Stopped> {
        if now.saturating_duration_since(up.since) >= STABLE {
            self.failures = 0;
        }
        self.note_ghost(now, code);
        // A `bye` whose close was lost still counts.
        let code = match up.bye {
            Some(bye) if code == NO_CODE => bye.code,
            _ => code,
        };
        self.wait(now, config, code, reason, up.bye)
    }

    /// Keeps that a connection ended without a word of the server.
    const fn note_ghost(&mut self, now: Instant, code: u16) {
        if code == NO_CODE {
            self.ghost = Some(now);
        }
    }

    /// Whether what replaced the connection may have been an earlier one of this client.
    fn was_own_ghost(&mut self, now: Instant) -> bool {
        let ghost = self.ghost.take();
        ghost.is_some_and(|lost| now.saturating_duration_since(lost) <= GHOST_MAX)
    }

    /// How long to wait after that close code.
    fn wait(
        &mut self,
        now: Instant,
        config: &Config,
        code: u16,
        reason: &str,
        bye: Option<Bye>,
    ) -> Result<Duration, Stopped> {
        match code {
            4403 => Err(Stopped::Banned),
            4409 if self.was_own_ghost(now) => Ok(self.backoff(config)),
            4409 => Err(Stopped::Replaced),
            1007 | 1009 | 4400 => Err(Stopped::Refused {
                code,
                reason: reason.to_owned(),
            }),
            4401 => {
                self.unauthenticated += 1;
                let most = if config.token.is_fixed() {
                    UNAUTHENTICATED_FIXED_MAX
                } else {
                    UNAUTHENTICATED_MAX
                };
                if self.unauthenticated >= most {
                    return Err(Stopped::Unauthenticated);
                }
                Ok(self.backoff(config))
            }
            _ => Ok(match bye {
                Some(bye) => self.spread(bye),
                None => self.backoff(config),
            }),
        }
    }

    fn backoff(&mut self, config: &Config) -> Duration {
        let wait = config.reconnect.delay(self.failures, &mut self.rng);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// A random time within what the server asked for.
    fn spread(&mut self, bye: Bye) -> Duration {
        let (min, max) = bye.reconnect_ms;
        let ms = self.rng.u64(min..=max.max(min));
        Duration::from_millis(ms).min(BYE_WAIT_MAX)
    }
}

fn renew_at(now: Instant, server_now: Timestamp, expires_at: Timestamp) -> Instant {
    let left = expires_at.0.saturating_sub(server_now.0);
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    let wait = left.saturating_sub(RENEW_BEFORE.min(left / 4));
    now.checked_add(wait).unwrap_or(now + RENEW_BEFORE)
}
