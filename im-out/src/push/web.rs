//! Web Push: RFC 8030, encrypted and signed.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use im_core::model::PushTarget;
use im_core::port::{Clock, Push, PushError, PushNote};
use p256::SecretKey;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::encrypt::{Browser, EncryptError, encrypt};
use super::vapid::VapidKey;
use crate::reach::{Address, Reach, ReachError};

/// Browsers give keys without padding, some libraries with.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// How often a key is drawn; of 2^32 of them one is none.
const DRAWS_MAX: u32 = 4;

/// Web Push with a server's own key.
#[derive(Debug)]
pub struct WebPush {
    key: VapidKey,
    reach: Reach,
    clock: Arc<dyn Clock>,
    random: SystemRandom,
}

impl WebPush {
    /// Pushes that go out by `reach`.
    #[must_use]
    pub fn new(key: VapidKey, reach: Reach, clock: Arc<dyn Clock>) -> Self {
        Self {
            key,
            reach,
            clock,
            random: SystemRandom::new(),
        }
    }

    fn seal(&self, to: &Browser, text: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let mut salt = [0; 16];
        self.fill(&mut salt)?;
        let mut once = [0; 32];
        for _ in 0..DRAWS_MAX {
            self.fill(&mut once)?;
            if let Ok(once) = SecretKey::from_slice(&once) {
                return encrypt(text, to, &once, salt);
            }
        }
        Err(EncryptError::Internal)
    }

    fn fill(&self, bytes: &mut [u8]) -> Result<(), EncryptError> {
        self.random.fill(bytes).map_err(|_| EncryptError::Internal)
    }
}

/// The address and the browser of a subscription.
fn read(target: &PushTarget, reach: &Reach) -> Option<(Address, Browser)> {
    let text = |field| target.data.get(field)?.as_text();
    let address = Address::parse(text("endpoint")?, reach.allow()).ok()?;
    let key = BASE64.decode(text("p256dh")?).ok()?;
    let auth = BASE64.decode(text("auth")?).ok()?;
    Some((address, Browser::new(&key, &auth).ok()?))
}

#[async_trait]
impl Push for WebPush {
    async fn push(&self, target: &PushTarget, note: &PushNote) -> Result<(), PushError> {
        let (address, browser) = read(target, &self.reach).ok_or(PushError::Gone)?;
        let sealed = self.seal(&browser, note.payload.as_bytes());
        let sealed = sealed.map_err(|_| PushError::Refused)?;
        let now = self.clock.timestamp();
        let urgency = if note.is_urgent { "high" } else { "normal" };
        let headers = [
            (
                "authorization",
                self.key.authorization(&address.origin(), now),
            ),
            ("content-encoding", "aes128gcm".to_owned()),
            ("content-type", "application/octet-stream".to_owned()),
            ("topic", note.topic.clone()),
            ("ttl", note.ttl.as_secs().to_string()),
            ("urgency", urgency.to_owned()),
        ];
        match self
            .reach
            .post(&address, &headers, Bytes::from(sealed))
            .await
        {
            Ok(answer) if answer.is_good() => Ok(()),
            Ok(answer) => Err(match answer.status {
                404 | 410 => PushError::Gone,
                429 | 500..=599 => PushError::Later,
                _ => PushError::Refused,
            }),
            Err(ReachError::NotPublic) => Err(PushError::Gone),
            Err(_) => Err(PushError::Later),
        }
    }
}
