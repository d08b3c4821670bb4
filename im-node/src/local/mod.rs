//! stand-in
use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::*;
use im_core::port::*;
use std::collections::BTreeMap;
use std::time::Duration;
/// stand-in
#[derive(Debug, Default)]
pub struct LocalBus;
impl LocalBus {
    /// new
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}
#[derive(Debug)]
struct Never;
#[async_trait]
impl Subscription for Never {
    async fn next(&mut self) -> Option<Incoming> {
        std::future::pending().await
    }
}
#[async_trait]
impl Bus for LocalBus {
    fn capability(&self) -> Capability {
        Capability {
            durable: false,
            ordered: true,
            payload_bytes_max: 1 << 20,
            alone: true,
        }
    }
    async fn publish(&self, _: To, _: Bytes) -> Result<(), PortError> {
        Ok(())
    }
    async fn subscribe(&self, _: &NodeId) -> Result<Box<dyn Subscription>, PortError> {
        Ok(Box::new(Never))
    }
}
/// stand-in
#[derive(Debug, Default)]
pub struct LocalRegistry(parking_lot::Mutex<BTreeMap<(UserId, DeviceId), Route>>);
impl LocalRegistry {
    /// new
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}
#[async_trait]
impl Registry for LocalRegistry {
    async fn enter(&self, _: &NodeId) -> Result<Lease, PortError> {
        Ok(Lease {
            epoch: 1,
            ttl: Duration::from_secs(30),
        })
    }
    async fn renew(&self, _: &NodeId, _: u64) -> Result<(), PortError> {
        Ok(())
    }
    async fn leave(&self, _: &NodeId, _: u64) -> Result<(), PortError> {
        Ok(())
    }
    async fn put(&self, route: Route) -> Result<Option<Route>, PortError> {
        Ok(self
            .0
            .lock()
            .insert((route.user.clone(), route.device.clone()), route))
    }
    async fn remove(&self, route: &Route) -> Result<(), PortError> {
        let mut m = self.0.lock();
        let k = (route.user.clone(), route.device.clone());
        if m.get(&k) == Some(route) {
            m.remove(&k);
        }
        Ok(())
    }
    async fn find(&self, users: &[UserId]) -> Result<Vec<Route>, PortError> {
        Ok(self
            .0
            .lock()
            .values()
            .filter(|r| users.contains(&r.user))
            .cloned()
            .collect())
    }
}
