//! What a client's frames do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use im_core::frame::{
    ClientFrame, CloseCode, DecodeError, ErrorCode, Failure, Limits, ReadMark, RequestId,
    ServerFrame, decode_client,
};
use im_core::model::Value;
use im_core::port::{AuthError, Identity};

use super::{Connection, Stage};
use crate::appender::busy;
use crate::hub::LocalUser;
use crate::link::Link;
use crate::node::Inner;
use crate::service::Caller;

/// Over so long are refused sends counted.
const FLOOD_SPAN: Duration = Duration::from_secs(10);
/// A connection is not closed for flooding in its first second.
const FLOOD_GRACE: Duration = Duration::from_secs(1);

/// Counts what a connection was refused for sending too fast.
#[derive(Debug)]
pub(super) struct Flood {
    born: Instant,
    since: Instant,
    refused: u32,
}

impl Flood {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            born: now,
            since: now,
            refused: 0,
        }
    }

    /// One more was refused. True when it is a flood.
    pub(super) fn refuse(&mut self, now: Instant, sends_per_s: u32) -> bool {
        if now.saturating_duration_since(self.since) > FLOOD_SPAN {
            *self = Self {
                born: self.born,
                since: now,
                refused: 0,
            };
        }
        self.refused += 1;
        self.refused > 10 * sends_per_s && now.saturating_duration_since(self.born) > FLOOD_GRACE
    }
}

impl Connection {
    /// A frame came. Whatever is in it, the answer is a frame or a close, later.
    pub fn handle_frame(&mut self, bytes: &[u8]) {
        self.link.heard(self.now());
        if bytes.len() > self.inner.settings.limits.frame_bytes {
            return self.link.close(CloseCode::TooLarge);
        }
        match decode_client(self.link.codec, bytes) {
            Ok(frame) => self.on_frame(frame),
            Err(error) => self.on_undecodable(error),
        }
    }

    fn on_undecodable(&mut self, error: DecodeError) {
        let is_open = matches!(*self.stage.lock(), Stage::Open { .. });
        match error {
            DecodeError::Garbage(_) => self.link.close(CloseCode::Garbage),
            DecodeError::Bad { of, .. } if !is_open => {
                let hello = of.re.as_deref().is_none_or(|re| re == "hello");
                let code = if hello {
                    CloseCode::Garbage
                } else {
                    CloseCode::Unauthenticated
                };
                self.link.close(code);
            }
            DecodeError::Unsupported { .. } if !is_open => {
                self.link.close(CloseCode::Unauthenticated);
            }
            DecodeError::Bad { of, error } => {
                self.bad_frames += 1;
                let failure = Failure::new(ErrorCode::BadFrame, error.to_string());
                self.link
                    .refuse(of.re.as_deref().unwrap_or(""), of.id, of.cm_id, failure);
                if self.bad_frames >= Limits::BAD_FRAMES_MAX {
                    self.link.close(CloseCode::Garbage);
                }
            }
            DecodeError::Unsupported { of } => {
                let failure = Failure::new(ErrorCode::Unsupported, "no such frame");
                self.link
                    .refuse(of.re.as_deref().unwrap_or(""), of.id, of.cm_id, failure);
            }
        }
    }

    fn on_frame(&mut self, frame: ClientFrame) {
        let mut stage = self.stage.lock();
        let local = match &mut *stage {
            Stage::Open { local } => Arc::clone(local),
            // The transport does not read meanwhile; what was read before is out of order.
            Stage::Greeting => return self.link.close(CloseCode::Unauthenticated),
            Stage::New { identity } => {
                let ClientFrame::Hello(hello) = frame else {
                    return self.link.close(CloseCode::Unauthenticated);
                };
                let identity = identity.take();
                *stage = Stage::Greeting;
                self.link.said_hello.store(true, Ordering::Release);
                let (inner, link) = (Arc::clone(&self.inner), Arc::clone(&self.link));
                let greeting = inner.greet(link, Arc::clone(&self.stage), identity, hello);
                return self.inner.spawn(greeting);
            }
        };
        drop(stage);
        self.on_open_frame(&local, frame);
    }

    fn on_open_frame(&mut self, local: &Arc<LocalUser>, frame: ClientFrame) {
        match frame {
            ClientFrame::Ack(mark) => self.on_mark(local, &mark, false),
            ClientFrame::Read(mark) => self.on_mark(local, &mark, true),
            ClientFrame::Hello(_) => {
                let failure = Failure::new(ErrorCode::Conflict, "hello was said");
                self.link.refuse("hello", None, None, failure);
            }
            ClientFrame::Ping { id } => self.link.send(ServerFrame::Pong { id }),
            ClientFrame::Typing { conv } => self.inner.on_typing(local, &conv),
            ClientFrame::Send(draft) => self.on_send(local, draft),
            ClientFrame::Auth { id, token } => {
                self.in_background("auth", id.clone(), |inner, caller, link| async move {
                    inner
                        .renew_token(&caller, &link, id, &token)
                        .await
                        .map(Some)
                });
            }
            ClientFrame::Pull(pull) => {
                self.in_background("pull", pull.id.clone(), |inner, caller, link| async move {
                    inner
                        .pull_for(&caller.user, &link, pull)
                        .await
                        .map(|()| None)
                });
            }
            ClientFrame::Sync { id, since } => {
                self.in_background("sync", id.clone(), |inner, caller, _| async move {
                    let synced = inner.sync(&caller.user, since.as_deref(), Some(id)).await;
                    synced.map(|synced| Some(ServerFrame::Synced(synced)))
                });
            }
            ClientFrame::Req {
                id,
                method,
                params,
                key,
            } => {
                self.in_background("req", id.clone(), |inner, caller, link| async move {
                    let device = link.who().map(|(_, device)| device);
                    inner.admit(&caller.user, device, &method)?;
                    let value = inner.call(&caller, &method, params, key).await?;
                    Ok(Some(ServerFrame::Res { id, value }))
                });
            }
        }
    }

    fn on_mark(&self, local: &LocalUser, mark: &ReadMark, is_read: bool) {
        // Who is no member here is ignored.
        let Some(room) = self.inner.rooms.get(&mark.conv) else {
            return;
        };
        self.link.ack(room.key, mark.seq);
        self.inner
            .move_cursor(&room, local, self.link.id, mark.seq, is_read);
    }

    /// Answers a request from a task of its own; at most so many at once.
    fn in_background<F, A>(&self, re: &'static str, id: RequestId, act: F)
    where
        F: FnOnce(Arc<Inner>, Caller, Arc<Link>) -> A,
        A: Future<Output = Result<Option<ServerFrame>, Failure>> + Send + 'static,
    {
        let link = Arc::clone(&self.link);
        let Some((user, _)) = link.who() else { return };
        let in_flight = link.requests_in_flight.fetch_add(1, Ordering::AcqRel);
        if in_flight as usize >= Limits::REQUESTS_MAX {
            link.requests_in_flight.fetch_sub(1, Ordering::AcqRel);
            return link.refuse(re, Some(id), None, busy());
        }
        let caller = Caller {
            user: user.clone(),
            staff: link.staff(),
            link: Some(Arc::clone(&link)),
        };
        let answer = act(Arc::clone(&self.inner), caller, Arc::clone(&link));
        self.inner.spawn(async move {
            match answer.await {
                Ok(Some(frame)) => link.send(frame),
                // It was answered already.
                Ok(None) => {}
                Err(failure) => link.refuse(re, Some(id), None, failure),
            }
            // After the answer was queued: who sees none in flight may end the connection.
            link.requests_in_flight.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

impl Inner {
    async fn renew_token(
        &self,
        caller: &Caller,
        link: &Link,
        id: RequestId,
        token: &str,
    ) -> Result<ServerFrame, Failure> {
        let identity: Identity = match self.auth.authenticate(token, self.clock.timestamp()).await {
            Ok(identity) => identity,
            Err(AuthError::Invalid(_)) => {
                return Err(Failure::new(
                    ErrorCode::Unauthenticated,
                    "the token is not valid",
                ));
            }
            Err(AuthError::Unavailable) => {
                let words = "the token can't be checked now";
                return Err(Failure::retry(ErrorCode::Unavailable, words, 1_000));
            }
        };
        if identity.user != caller.user {
            return Err(Failure::new(
                ErrorCode::Forbidden,
                "the token is another user's",
            ));
        }
        link.take_token(&identity);
        let value = Value::object([("expires_at", Value::from(identity.expires_at.0))]);
        Ok(ServerFrame::Res { id, value })
    }
}
