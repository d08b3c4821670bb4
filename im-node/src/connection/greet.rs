//! Hello and goodbye: a user's first connection joins the rooms of their conversations, the last
//! one leaves them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use im_core::frame::{CloseCode, ErrorCode, Failure, Hello, ServerFrame, Welcome};
use im_core::model::{ConnectionId, DeviceId, Stamps, UserId};
use im_core::port::{
    AuthError, Identity, MembershipLine, MembershipPage, PortError, PortErrorKind, Route, Standing,
};
use parking_lot::Mutex;

use super::Stage;
use crate::appender::port_failure;
use crate::hub::{Gate, LocalUser};
use crate::joining::{JOIN_TRIES_MAX, enter, leave};
use crate::link::Link;
use crate::node::Inner;
use crate::router::BusMessage;

/// Conversations joined per read.
const JOIN_PAGE: usize = 500;
/// How long the registry may take to write a connection; a user's others wait for it.
const REGISTRY_DEADLINE: Duration = Duration::from_secs(5);
/// Routes to be removed that are remembered; the oldest beyond them stay until the lease ends.
const UNREMOVED_MAX: usize = 10_000;
/// Reads of a user's list until it holds still; then the sweep does the rest.
const JOIN_READS_MAX: u32 = 1_000;

impl Inner {
    /// A connection said hello.
    pub(super) async fn greet(
        self: Arc<Self>,
        link: Arc<Link>,
        stage: Arc<Mutex<Stage>>,
        identity: Option<Identity>,
        hello: Hello,
    ) {
        let since = hello.since.clone();
        match self.try_greet(&link, identity, hello).await {
            Ok((local, welcome)) => {
                *stage.lock() = Stage::Open {
                    local: Arc::clone(&local),
                };
                link.open(welcome);
                self.moderation
                    .counts
                    .seen(self.clock.timestamp(), &local.id);
                self.note_staff(&local.id, link.staff()).await;
                if let Some(since) = since {
                    self.sync_unasked(&link, &local.id, &since).await;
                }
            }
            Err(Refused::Close(code)) => {
                if code == CloseCode::Banned {
                    link.refuse_entry(code);
                } else {
                    link.close(code);
                }
            }
            Err(Refused::Fail(failure)) => {
                link.refuse("hello", None, None, failure);
                link.refuse_entry(CloseCode::GoingAway);
            }
        }
        // Its end may have come when nobody knew yet whose connection it was.
        if link.is_gone() {
            self.part(&link).await;
        }
    }

    async fn try_greet(
        self: &Arc<Self>,
        link: &Arc<Link>,
        identity: Option<Identity>,
        hello: Hello,
    ) -> Result<(Arc<LocalUser>, ServerFrame), Refused> {
        let now = self.clock.timestamp();
        let identity = match (identity, hello.token) {
            (Some(identity), None) => identity,
            (None, Some(token)) => self.auth.authenticate(&token, now).await?,
            // Two tokens, or none.
            _ => return Err(Refused::Close(CloseCode::Unauthenticated)),
        };
        if self.standing(&identity.user).await? != Standing::Active {
            return Err(Refused::Close(CloseCode::Banned));
        }
        link.take_token(&identity);
        link.set_who(identity.user.clone(), hello.device.clone());
        let local = self.hub.attach(&identity.user, link);
        // Who was banned meanwhile may not have been found here.
        if self.moderation.standings().is_banned(&identity.user, now) {
            return Err(Refused::Close(CloseCode::Banned));
        }
        // Before anything that may take long: of two greetings of a device, the later one wins.
        self.replace(link, &local, &hello.device).await?;
        let mut gate = local.gate.lock().await;
        // Who has gone meanwhile may be forgotten already, and shown offline.
        if link.is_gone() {
            return Err(Refused::Close(CloseCode::GoingAway));
        }
        if !gate.joined {
            self.join_all(&local, &mut gate).await?;
            self.show_presence(&identity.user, true);
        }
        drop(gate);
        if link.is_gone() {
            return Err(Refused::Close(CloseCode::GoingAway));
        }
        let settings = &self.settings;
        let welcome = ServerFrame::Welcome(Welcome {
            user: identity.user,
            device: hello.device,
            conn: format!("{}-{}", settings.node, link.id),
            node: settings.node.as_str().to_owned(),
            now: self.clock.timestamp(),
            expires_at: identity.expires_at,
            heartbeat_ms: u64::try_from(settings.heartbeat.as_millis()).unwrap_or(u64::MAX),
            limits: settings.limits,
        });
        Ok((local, welcome))
    }

    /// What the staff and the embedder say of a user; without a directory everybody is in good
    /// standing who is not banned. Who was erased is nobody.
    pub(crate) async fn standing(&self, user: &UserId) -> Result<Standing, PortError> {
        let standings = self.moderation.standings();
        if standings.is_banned(user, self.clock.timestamp()) {
            return Ok(Standing::Banned);
        }
        if self.is_erased(user).await? {
            return Ok(Standing::Unknown);
        }
        let Some(directory) = &self.directory else {
            return Ok(Standing::Active);
        };
        let standing = directory.standing(std::slice::from_ref(user)).await?;
        Ok(standing.first().copied().unwrap_or(Standing::Unknown))
    }

    /// Joins every conversation of a user. The user is registered already; then the list is read
    /// until it holds still, so that nothing committed in between is missed.
    async fn join_all(
        self: &Arc<Self>,
        local: &Arc<LocalUser>,
        gate: &mut Gate,
    ) -> Result<(), PortError> {
        let mut stamps = Stamps::START;
        for _ in 0..JOIN_READS_MAX {
            let MembershipPage {
                lines,
                stamps: next,
                more,
            } = self
                .store
                .memberships(&local.id, &stamps, JOIN_PAGE, false)
                .await?;
            // What is given again from where it was given before is no news: the store has a
            // transaction under way that it may not cover.
            let still = !more && (lines.is_empty() || next == stamps);
            for line in lines {
                self.join_line(local, line).await?;
            }
            stamps = next;
            if still {
                break;
            }
        }
        gate.joined = true;
        Ok(())
    }

    async fn join_line(
        self: &Arc<Self>,
        local: &Arc<LocalUser>,
        line: MembershipLine,
    ) -> Result<(), PortError> {
        let MembershipLine {
            mut conversation,
            mut member,
            ..
        } = line;
        let conv = conversation.id.clone();
        for _ in 0..JOIN_TRIES_MAX {
            let mut stale = false;
            let room = self.open_room(&conv, |room, state| {
                if let Some(left) = member.left_seq {
                    local.note_parted(&conv, left);
                    if state
                        .version()
                        .is_none_or(|known| known <= conversation.version)
                    {
                        leave(room, state, local);
                    }
                    return;
                }
                if state.machine.get(&local.id).is_some() {
                    return state.machine.handle_head(conversation.head);
                }
                stale = state
                    .version()
                    .is_some_and(|known| known > conversation.version)
                    || !state.learn(&conversation);
                if !stale {
                    enter(room, state, local, member.clone(), conversation.head);
                }
            });
            self.drain(&room, room.state.lock());
            if !stale {
                return Ok(());
            }
            // The room has seen members change that this line has not: read again.
            let users = [local.id.clone()];
            let Some(view) = self.store.view(&conv, &users).await? else {
                return Ok(());
            };
            let Some(fresh) = view.members.into_iter().next() else {
                return Ok(());
            };
            (conversation, member) = (view.conversation, fresh);
        }
        tracing::warn!(%conv, "a member could not join their room: its members change too fast");
        Err(PortError::new(PortErrorKind::Unavailable))
    }

    /// The device's earlier connections end, here and elsewhere.
    async fn replace(
        self: &Arc<Self>,
        link: &Link,
        local: &LocalUser,
        device: &DeviceId,
    ) -> Result<(), Refused> {
        // The registry hears of a user's connections in their order.
        let _turn = local.registering.lock().await;
        // Who has gone meanwhile replaces nobody: the device may have connected anew.
        if link.is_gone() || !local.replace(device, link.id) {
            return Err(Refused::Close(CloseCode::Replaced));
        }
        self.register(link, &local.id, device).await;
        Ok(())
    }

    /// Writes a connection into the registry; the device's earlier connection ends. Called in its
    /// turn.
    async fn register(self: &Arc<Self>, link: &Link, user: &UserId, device: &DeviceId) {
        let route = self.route(user, device, link.id);
        let epoch = route.epoch;
        let put = tokio::time::timeout(REGISTRY_DEADLINE, self.registry.put(route));
        match put.await.unwrap_or_else(|_| Err(late())) {
            Ok(old) => {
                link.registered.store(epoch, Ordering::Release);
                self.tell_replaced(user, device, old);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be registered; trying again");
                self.unregistered.store(true, Ordering::Release);
            }
        }
    }

    fn tell_replaced(self: &Arc<Self>, user: &UserId, device: &DeviceId, old: Option<Route>) {
        let Some(old) = old.filter(|old| old.node != self.settings.node) else {
            return;
        };
        self.publish(&BusMessage::Replaced {
            node: old.node.as_str().to_owned(),
            epoch: old.epoch,
            user: user.clone(),
            device: device.clone(),
            conn: old.conn,
        });
    }

    /// Writes the connections that the registry does not know under the lease of now. A device that
    /// connected elsewhere meanwhile stays there: it is the connection here that ends. In a task of
    /// its own: meanwhile the lease must be renewed.
    pub(crate) fn restore_routes(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.spawn(async move { inner.try_restore_routes().await });
    }

    async fn try_restore_routes(&self) {
        for link in self.hub.links() {
            let Some((user, device)) = link.who() else {
                continue;
            };
            let Some(local) = self.hub.get(user) else {
                continue;
            };
            let _turn = local.registering.lock().await;
            if link.is_closing() {
                continue;
            }
            let route = self.route(user, device, link.id);
            let (epoch, before) = (route.epoch, link.registered.load(Ordering::Acquire));
            if before == epoch {
                continue;
            }
            let restored = tokio::time::timeout(REGISTRY_DEADLINE, self.registry.restore(route));
            match restored.await.unwrap_or_else(|_| Err(late())) {
                Ok(None) => link.registered.store(epoch, Ordering::Release),
                Ok(Some(_)) if before > 0 => link.close(CloseCode::Replaced),
                // Which of them came later nobody knows: the other may be that of a node that died.
                Ok(Some(_)) => self.unregistered.store(true, Ordering::Release),
                Err(error) => {
                    // The next renewal comes by again.
                    self.unregistered.store(true, Ordering::Release);
                    return tracing::warn!(%error, "connections are not registered");
                }
            }
        }
    }

    fn route(&self, user: &UserId, device: &DeviceId, conn: ConnectionId) -> Route {
        Route {
            user: user.clone(),
            device: device.clone(),
            node: self.settings.node.clone(),
            epoch: self.lease.load(Ordering::Acquire),
            conn,
        }
    }

    /// A connection ended.
    pub(super) async fn part(self: &Arc<Self>, link: &Arc<Link>) {
        let Some((user, device)) = link.who() else {
            return;
        };
        let route = self.route(user, device, link.id);
        let mut is_last = false;
        if let Some(local) = self.hub.get(user)
            && self.hub.detach(&local, link)
        {
            let _gate = local.gate.lock().await;
            if self.hub.forget(&local) {
                self.leave_all(&local);
                is_last = true;
            }
        }
        if let Err(error) = self.registry.remove(&route).await {
            tracing::debug!(%error, "a route could not be removed; trying again");
            self.remove_later(route);
        }
        if is_last {
            self.show_gone(user).await;
        }
    }

    /// While the lease holds nobody else removes it, and other nodes take the device for connected.
    fn remove_later(&self, route: Route) {
        let mut unremoved = self.unremoved.lock();
        if unremoved.len() >= UNREMOVED_MAX {
            unremoved.pop_front();
        }
        unremoved.push_back(route);
    }

    /// Removes what could not be removed before, until that fails again.
    pub(crate) fn remove_routes(self: &Arc<Self>) {
        if self.unremoved.lock().is_empty() {
            return;
        }
        let inner = Arc::clone(self);
        self.spawn(async move {
            let next = || inner.unremoved.lock().pop_front();
            while let Some(route) = next() {
                if inner.registry.remove(&route).await.is_err() {
                    return inner.remove_later(route);
                }
            }
        });
    }

    fn leave_all(&self, local: &Arc<LocalUser>) {
        let rooms: Vec<_> = local.rooms.lock().values().cloned().collect();
        for room in rooms {
            leave(&room, &mut room.state.lock(), local);
            self.rooms.close_if_empty(&room);
        }
    }
}

const fn late() -> PortError {
    PortError::new(PortErrorKind::Unavailable)
}

enum Refused {
    Close(CloseCode),
    Fail(Failure),
}

impl From<AuthError> for Refused {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Invalid(why) => {
                tracing::debug!(%why, "a token was refused");
                Self::Close(CloseCode::Unauthenticated)
            }
            AuthError::Unavailable => Self::Fail(Failure::retry(
                ErrorCode::Unavailable,
                "the token can't be checked now",
                1_000,
            )),
        }
    }
}

impl From<PortError> for Refused {
    fn from(error: PortError) -> Self {
        Self::Fail(port_failure(&error))
    }
}
