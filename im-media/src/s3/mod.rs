//! Objects of a bucket, over any storage that speaks S3.

mod connector;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use im_core::port::{Blobs, ObjectKey, PUT_BYTES_MAX, PortError, PortErrorKind, Signed};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{BackoffConfig, ObjectStoreExt as _, RetryConfig, WriteMultipart};

use connector::Connector;

/// How often a request is tried again, within [`RETRY_MAX`].
const RETRIES: usize = 3;
/// How long a request is tried.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Pieces of a joined object on their way at once.
const PIECES_AT_ONCE: usize = 2;
/// The longest words kept of an error, in characters.
const WORDS_CHARS_MAX: usize = 300;

/// Where a bucket is, and who asks. `Debug` shows no secret.
#[derive(Clone)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with, without `/` around it; may be empty.
    pub prefix: String,
    /// Its region.
    pub region: String,
    /// Where it is, when it is not at AWS: `https://s3.example.com`.
    pub endpoint: Option<String>,
    /// The id of the key.
    pub key: String,
    /// The key.
    pub secret: String,
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Why a bucket can't be used.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// It is no `s3://BUCKET` or `s3://BUCKET/PREFIX`.
    #[error("must be s3://BUCKET or s3://BUCKET/PREFIX")]
    Url,
    /// A variable is missing.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// The settings make no sense together.
    #[error("the settings of the bucket: {0}")]
    Settings(String),
}

impl S3Settings {
    /// A bucket by its URL, and the rest by the variables that everybody uses:
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` and `AWS_ENDPOINT_URL`.
    ///
    /// # Errors
    /// When the URL is none, or a key is missing.
    pub fn from_url(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, S3Error> {
        let place = url.strip_prefix("s3://").ok_or(S3Error::Url)?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_matches('/');
        let is_prefix = prefix.is_empty() || ObjectKey::parse(prefix).is_some();
        if bucket.is_empty() || !is_prefix || bucket.contains(['@', '?', ' ']) {
            return Err(S3Error::Url);
        }
        let need = |name| variable(name).ok_or(S3Error::Missing(name));
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: variable("AWS_REGION").unwrap_or_else(|| "us-east-1".to_owned()),
            endpoint: variable("AWS_ENDPOINT_URL"),
            key: need("AWS_ACCESS_KEY_ID")?,
            secret: need("AWS_SECRET_ACCESS_KEY")?,
        })
    }
}

/// Objects of a bucket.
#[derive(Debug)]
pub struct S3Blobs {
    store: AmazonS3,
    settings: S3Settings,
}

/// What the storage said, without the keys.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(String);

impl S3Blobs {
    /// A bucket. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(settings: S3Settings) -> Result<Self, S3Error> {
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: RETRY_MAX,
        };
        let connector = Connector::new().map_err(|error| S3Error::Settings(error.to_string()))?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(&settings.key)
            .with_secret_access_key(&settings.secret)
            .with_http_connector(connector)
            .with_retry(retry);
        if let Some(endpoint) = &settings.endpoint {
            let is_plain = endpoint.starts_with("http://");
            builder = builder.with_endpoint(endpoint).with_allow_http(is_plain);
        }
        let store = builder.build();
        let store = store.map_err(|error| S3Error::Settings(words(&settings, &error)))?;
        Ok(Self { store, settings })
    }

    fn path(&self, key: &ObjectKey) -> Path {
        match self.settings.prefix.as_str() {
            "" => Path::from(key.as_str()),
            prefix => Path::from(format!("{prefix}/{key}")),
        }
    }

    fn told(&self, error: &object_store::Error) -> PortError {
        use object_store::Error;
        let kind = match error {
            Error::NotFound { .. } => PortErrorKind::Corrupt,
            Error::NotSupported { .. } | Error::NotImplemented { .. } => PortErrorKind::Internal,
            _ => PortErrorKind::Unavailable,
        };
        PortError::with_source(kind, Words(words(&self.settings, error)))
    }

    /// `None` of what is not there.
    fn found<T>(&self, result: object_store::Result<T>) -> Result<Option<T>, PortError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.told(&error)),
        }
    }

    /// Writes the parts one after the other into an object that is there when all are.
    async fn copy_all(&self, to: &Path, parts: &[ObjectKey]) -> Result<(), object_store::Error> {
        let upload = self.store.put_multipart(to).await?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PUT_BYTES_MAX);
        for part in parts {
            let copied = self.copy_one(&mut writer, part).await;
            if let Err(error) = copied {
                // What was begun is the storage's to forget; a second error says nothing new.
                let _ = writer.abort().await;
                return Err(error);
            }
        }
        writer.finish().await.map(drop)
    }

    async fn copy_one(
        &self,
        writer: &mut WriteMultipart,
        part: &ObjectKey,
    ) -> Result<(), object_store::Error> {
        let got = self.store.get(&self.path(part)).await?;
        let mut bytes = got.into_stream();
        while let Some(chunk) = bytes.try_next().await? {
            writer.wait_for_capacity(PIECES_AT_ONCE).await?;
            writer.put(chunk);
        }
        Ok(())
    }
}

/// The words of an error and its causes, without the keys.
fn words(settings: &S3Settings, error: &object_store::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_words = inner.to_string();
        if !words.contains(&inner_words) {
            words.push_str(": ");
            words.push_str(&inner_words);
        }
        cause = inner.source();
    }
    for secret in [&settings.secret, &settings.key] {
        if !secret.is_empty() {
            words = words.replace(secret.as_str(), "…");
        }
    }
    words.chars().take(WORDS_CHARS_MAX).collect()
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), PortError> {
        let put = self.store.put(&self.path(key), bytes.into()).await;
        put.map(drop).map_err(|error| self.told(&error))
    }

    async fn join(&self, key: &ObjectKey, parts: &[ObjectKey]) -> Result<(), PortError> {
        let to = self.path(key);
        let joined = match parts {
            [] => self.store.put(&to, Bytes::new().into()).await.map(drop),
            [one] => self.store.copy(&self.path(one), &to).await,
            _ => self.copy_all(&to, parts).await,
        };
        joined.map_err(|error| self.told(&error))
    }

    async fn read(
        &self,
        key: &ObjectKey,
        from: u64,
        len: usize,
    ) -> Result<Option<Bytes>, PortError> {
        let path = self.path(key);
        let Some(about) = self.found(self.store.head(&path).await)? else {
            return Ok(None);
        };
        // A range beyond the end is an error of the storage's.
        let end = about.size.min(from.saturating_add(len as u64));
        if from >= end {
            return Ok(Some(Bytes::new()));
        }
        self.found(self.store.get_range(&path, from..end).await)
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, PortError> {
        let about = self.found(self.store.head(&self.path(key)).await)?;
        Ok(about.map(|about| about.size))
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), PortError> {
        let removed = self.store.delete(&self.path(key)).await;
        self.found(removed).map(drop)
    }

    async fn list(&self, below: &ObjectKey, limit: usize) -> Result<Vec<ObjectKey>, PortError> {
        use object_store::ObjectStore as _;
        let path = self.path(below);
        let listed = self.store.list(Some(&path)).take(limit);
        let listed: Vec<_> = listed
            .try_collect()
            .await
            .map_err(|error| self.told(&error))?;
        let above = match self.settings.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let key = |about: &object_store::ObjectMeta| {
            ObjectKey::parse(about.location.as_ref().strip_prefix(&above)?)
        };
        Ok(listed.iter().filter_map(key).collect())
    }

    async fn sign(
        &self,
        key: &ObjectKey,
        what: Signed,
        ttl: Duration,
    ) -> Result<Option<String>, PortError> {
        let method = match what {
            Signed::Get => connector::Method::GET,
            Signed::Put => connector::Method::PUT,
        };
        let url = self.store.signed_url(method, &self.path(key), ttl).await;
        let url = url.map_err(|error| self.told(&error))?;
        Ok(Some(url.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "AWS_ACCESS_KEY_ID" => Some("AKIDEXAMPLE".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("wJalrXUtnFEMI".to_owned()),
            // A port where nobody listens.
            "AWS_ENDPOINT_URL" => Some("http://127.0.0.1:9".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn a_bucket_is_a_url_and_the_keys_are_not_in_it() {
        let settings = S3Settings::from_url("s3://b/media/x/", variable).unwrap();
        assert_eq!((&*settings.bucket, &*settings.prefix), ("b", "media/x"));
        for bad in [
            "",
            "s3://",
            "s3://k:s@b",
            "https://b",
            "s3://b/../c",
            "s3://b?x",
        ] {
            assert!(
                matches!(S3Settings::from_url(bad, variable), Err(S3Error::Url)),
                "{bad}"
            );
        }
        let missing = S3Settings::from_url("s3://b", |_| None).unwrap_err();
        assert_eq!(missing.to_string(), "AWS_ACCESS_KEY_ID is not set");
    }

    #[tokio::test]
    async fn a_storage_that_is_away_is_said_without_the_keys() {
        let settings = S3Settings::from_url("s3://b", variable).unwrap();
        let shown = format!("{settings:?}");
        let blobs = S3Blobs::new(settings).unwrap();
        let key = ObjectKey::parse("a").unwrap();
        let error = blobs.size(&key).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Unavailable);
        let told = format!("{error} {error:?} {shown}");
        assert!(!told.contains("AKID") && !told.contains("wJalr"), "{told}");
    }

    #[test]
    fn what_a_storage_repeats_of_the_keys_is_taken_out() {
        let settings = S3Settings::from_url("s3://b", variable).unwrap();
        let error = object_store::Error::Generic {
            store: "S3",
            source: "<AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId> wJalrXUtnFEMI".into(),
        };
        let words = words(&settings, &error);
        assert!(words.contains("<AWSAccessKeyId>…<"), "{words}");
        assert!(!words.contains("wJalr"), "{words}");
    }
}
