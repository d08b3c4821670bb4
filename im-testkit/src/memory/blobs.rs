//! Objects in memory, and an inspection that knows one virus.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use im_core::port::{
    Blobs, Content, Inspect, Judgement, ObjectKey, PortError, PortErrorKind, READ_BYTES_MAX,
    Signed, Suspect,
};
use parking_lot::Mutex;

/// Objects in memory. It can be made to fail, and signs URLs that nobody serves.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    objects: Mutex<BTreeMap<ObjectKey, Bytes>>,
    fails: Mutex<Option<PortErrorKind>>,
    writes: AtomicU64,
}

impl MemoryBlobs {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every call fails so from now on; `None` ends it.
    pub fn fail(&self, kind: Option<PortErrorKind>) {
        *self.fails.lock() = kind;
    }

    /// The keys of all objects.
    #[must_use]
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.objects.lock().keys().cloned().collect()
    }

    /// How many objects were written, whatever became of them.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), PortError> {
        match *self.fails.lock() {
            Some(kind) => Err(PortError::new(kind)),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), PortError> {
        self.check()?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.objects.lock().insert(key.clone(), bytes);
        Ok(())
    }

    async fn join(&self, key: &ObjectKey, parts: &[ObjectKey]) -> Result<(), PortError> {
        self.check()?;
        let mut objects = self.objects.lock();
        let mut joined = BytesMut::new();
        for part in parts {
            let missing = || PortError::new(PortErrorKind::Corrupt);
            joined.extend_from_slice(objects.get(part).ok_or_else(missing)?);
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        objects.insert(key.clone(), joined.freeze());
        Ok(())
    }

    async fn read(
        &self,
        key: &ObjectKey,
        from: u64,
        len: usize,
    ) -> Result<Option<Bytes>, PortError> {
        self.check()?;
        let objects = self.objects.lock();
        Ok(objects.get(key).map(|bytes| {
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
            let end = from.saturating_add(len).min(bytes.len());
            bytes.slice(from..end)
        }))
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, PortError> {
        self.check()?;
        let objects = self.objects.lock();
        Ok(objects.get(key).map(|bytes| bytes.len() as u64))
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), PortError> {
        self.check()?;
        self.objects.lock().remove(key);
        Ok(())
    }

    async fn list(&self, below: &ObjectKey, limit: usize) -> Result<Vec<ObjectKey>, PortError> {
        self.check()?;
        let below = format!("{below}/");
        let objects = self.objects.lock();
        let keys = objects
            .keys()
            .filter(|key| key.as_str().starts_with(&below));
        Ok(keys.take(limit).cloned().collect())
    }

    async fn sign(
        &self,
        key: &ObjectKey,
        what: Signed,
        _: Duration,
    ) -> Result<Option<String>, PortError> {
        self.check()?;
        Ok(Some(format!("memory:{what:?}/{key}")))
    }
}

/// An inspection that refuses the file with which virus scanners are tested (EICAR), puts what
/// begins with `quarantine` there, and can be away.
#[derive(Debug, Default)]
pub struct TestInspect {
    is_away: Mutex<bool>,
    asked: AtomicU64,
}

impl TestInspect {
    /// The EICAR test file. In two pieces, so that no scanner finds this one.
    pub const EICAR: [&str; 2] = [
        r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-",
        "ANTIVIRUS-TEST-FILE!$H+H*",
    ];

    /// Whether it fails.
    pub fn away(&self, is_away: bool) {
        *self.is_away.lock() = is_away;
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Inspect for TestInspect {
    async fn inspect(
        &self,
        suspect: Suspect<'_>,
        content: &Content,
    ) -> Result<Judgement, PortError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if *self.is_away.lock() {
            return Err(PortError::new(PortErrorKind::Unavailable));
        }
        assert_eq!(suspect.sha256.len(), 64);
        let head = content.read(0, READ_BYTES_MAX).await?;
        let eicar = Self::EICAR.concat();
        let has = |words: &str| {
            head.windows(words.len())
                .any(|part| part == words.as_bytes())
        };
        Ok(if has(&eicar) {
            Judgement::Refuse("a virus".to_owned())
        } else if head.starts_with(b"quarantine") {
            Judgement::Quarantine("to be looked at".to_owned())
        } else {
            Judgement::Allow
        })
    }
}
