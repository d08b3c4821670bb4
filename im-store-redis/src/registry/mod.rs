//! The registry: which node has a user's connections. Each change is one script; time is the
//! server's own.

mod cache;
mod scripts;

use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{ConnectionId, DeviceId, NodeId, UserId};
use im_core::port::{Lease, PortError, PortErrorKind, Registry, Route};
use im_link::redis::Server;
use im_link::{ConnectError, check_prefix};
use redis::Script;
use tokio::time::Instant;

use self::cache::Cache;
use self::scripts::Scripts;
use crate::link::{Call, Redis, To};

/// A shorter lease would end between two renewals of a busy node.
const LEASE_MIN: Duration = Duration::from_millis(500);
/// A longer one would keep a dead node's name and routes for too long.
const LEASE_MAX: Duration = Duration::from_secs(3600);
/// The most users that one script looks up: others wait while it runs.
const FIND_USERS_MAX: usize = 256;

/// How a registry is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What all keys begin with, in braces; the same on all nodes of a cluster and on no other:
    /// 1–64 characters of `A-Z a-z 0-9 _ - .`
    pub prefix: String,
    /// For `rediss://`: the certificates of the authorities that are trusted, as PEM text. Without,
    /// those that the web trusts.
    pub ca_pem: Option<String>,
    /// How long a node's lease holds without a renewal: 500 ms to an hour.
    pub lease: Duration,
    /// How long a look-up that found somebody is believed, at most until the lease that it hangs on
    /// ends; none with zero. What this node itself writes is seen at once.
    pub look_up: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "im".to_owned(),
            ca_pem: None,
            lease: Duration::from_secs(30),
            look_up: Duration::from_secs(2),
        }
    }
}

/// The [`Registry`] on Redis.
///
/// Every call answers within about two seconds; with `Unavailable` at once while Redis is away, and
/// whoever looks somebody up then tells all nodes. Epochs follow the server's clock in
/// milliseconds, so they grow even if Redis forgot everything.
#[derive(Debug)]
pub struct RedisRegistry {
    redis: Redis,
    scripts: Scripts,
    /// What every key begins with.
    base: String,
    lease: Duration,
    cache: Cache,
}

impl RedisRegistry {
    /// Connects to `redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS.
    ///
    /// # Errors
    /// When the URL or the options can't be used, or nobody answers there within 2 s as a Redis
    /// that takes the credentials. No error shows these.
    pub async fn connect(url: &str, options: Options) -> Result<Self, ConnectError> {
        let prefix = &options.prefix;
        check_prefix(prefix)?;
        if !(LEASE_MIN..=LEASE_MAX).contains(&options.lease) {
            return Err(ConnectError::Option("a lease lasts from 500 ms to an hour"));
        }
        Ok(Self {
            redis: Redis::start(
                Server::parse(url, options.ca_pem.as_deref())?,
                To::One,
                "the registry is away",
            )
            .await?,
            scripts: Scripts::new(),
            base: format!("{{{prefix}}}:registry"),
            lease: options.lease,
            cache: Cache::new(options.look_up),
        })
    }

    fn call<'a>(&self, script: &'a Script) -> Call<'a> {
        Call::new(script, &[&self.base])
    }

    /// Runs a script that first says whether the lease holds.
    async fn fenced(&self, call: &Call<'_>) -> Result<Vec<String>, PortError> {
        let answer: Vec<String> = self.redis.run(call).await?;
        match answer.first().map(String::as_str) {
            Some("ok") => Ok(answer),
            Some("fenced") => Err(PortError::new(PortErrorKind::Fenced)),
            _ => Err(PortError::new(PortErrorKind::Internal)),
        }
    }

    fn ttl_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    async fn write(&self, script: &Script, route: Route) -> Result<Option<Route>, PortError> {
        let mut call = self.call(script);
        call.arg(route.user.as_str())
            .arg(route.device.as_str())
            .arg(written(&route))
            .arg(route.node.as_str())
            .arg(route.epoch);
        let answer = self.fenced(&call).await;
        // Also after an error: it may have been written.
        self.cache.forget(&route.user);
        let other = answer?.into_iter().nth(1);
        Ok(other.and_then(|text| read(&route.user, route.device.clone(), &text)))
    }

    /// Asks for a few users, and gives what is found with how long its lease holds.
    async fn ask(&self, users: &[UserId]) -> Result<Vec<(Route, Duration)>, PortError> {
        let mut call = self.call(&self.scripts.find);
        for user in users {
            call.arg(user.as_str());
        }
        let answer: Vec<(usize, String, String, u64)> = self.redis.run(&call).await?;
        let found = answer.into_iter().filter_map(|(at, device, text, ttl_ms)| {
            let user = users.get(at.checked_sub(1)?)?;
            let route = read(user, DeviceId::new(device).ok()?, &text)?;
            Some((route, Duration::from_millis(ttl_ms)))
        });
        Ok(found.collect())
    }
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn enter(&self, node: &NodeId) -> Result<Lease, PortError> {
        let mut call = self.call(&self.scripts.enter);
        call.arg(node.as_str()).arg(self.ttl_ms());
        let answer = self.fenced(&call).await;
        self.cache.forget_all();
        let epoch = answer?.into_iter().nth(1);
        let epoch = epoch.and_then(|epoch| epoch.parse().ok());
        Ok(Lease {
            epoch: epoch.ok_or_else(|| PortError::new(PortErrorKind::Internal))?,
            ttl: self.lease,
        })
    }

    async fn renew(&self, node: &NodeId, epoch: u64) -> Result<(), PortError> {
        let mut call = self.call(&self.scripts.renew);
        call.arg(node.as_str()).arg(epoch).arg(self.ttl_ms());
        self.fenced(&call).await.map(|_| ())
    }

    async fn leave(&self, node: &NodeId, epoch: u64) -> Result<(), PortError> {
        let mut call = self.call(&self.scripts.leave);
        call.arg(node.as_str()).arg(epoch);
        let answer = self.fenced(&call).await;
        self.cache.forget_all();
        answer.map(|_| ())
    }

    async fn put(&self, route: Route) -> Result<Option<Route>, PortError> {
        self.write(&self.scripts.put, route).await
    }

    async fn restore(&self, route: Route) -> Result<Option<Route>, PortError> {
        self.write(&self.scripts.restore, route).await
    }

    async fn remove(&self, route: &Route) -> Result<(), PortError> {
        let mut call = self.call(&self.scripts.remove);
        call.arg(route.user.as_str())
            .arg(route.device.as_str())
            .arg(written(route))
            .arg(route.epoch);
        let answer = self.redis.run::<()>(&call).await;
        self.cache.forget(&route.user);
        answer
    }

    async fn find(&self, users: &[UserId]) -> Result<Vec<Route>, PortError> {
        let mut looked_up = self.cache.look_up(users);
        for some in looked_up.unknown.chunks(FIND_USERS_MAX) {
            let asked = Instant::now();
            let found = self.ask(some).await?;
            self.cache.keep(looked_up.generation, asked, &found);
            let routes = found.into_iter().map(|(route, _)| route);
            looked_up.routes.extend(routes);
        }
        Ok(looked_up.routes)
    }
}

/// A route as it is stored, beside its user and device: `EPOCH CONNECTION NODE`.
fn written(route: &Route) -> String {
    format!("{} {} {}", route.epoch, route.conn.0, route.node)
}

/// `None` for what nobody wrote here.
fn read(user: &UserId, device: DeviceId, text: &str) -> Option<Route> {
    let mut words = text.splitn(3, ' ');
    let (epoch, conn) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let node = NodeId::new(words.next()?).ok()?;
    Some(Route {
        user: user.clone(),
        device,
        node,
        epoch,
        conn: ConnectionId(conn),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_was_written() {
        let route = Route {
            user: UserId::new("al").unwrap(),
            device: DeviceId::new("phone").unwrap(),
            node: NodeId::new(" 7 a  b ").unwrap(),
            epoch: u64::MAX,
            conn: ConnectionId(u64::MAX),
        };
        let again = read(&route.user, route.device.clone(), &written(&route));
        assert_eq!(again, Some(route.clone()));
        for text in ["", "1", "1 2", "1 2 ", "x 2 n", "1 -2 n", "1 2 \n"] {
            assert_eq!(
                read(&route.user, route.device.clone(), text),
                None,
                "{text:?}"
            );
        }
    }
}
