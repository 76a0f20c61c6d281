//! A bucket of an S3-compatible store as the place of an archive's files.
//!
//! Every request is bounded in time. What is new is put under the condition that nothing has its name; that a name is
//! taken by the very bytes that were put is no failure: the first try had landed, and only its answer was lost.

mod alone;
mod error;
mod settings;

pub(crate) use alone::check_alone;
pub use error::BucketError;
pub use settings::{BucketOptions, BucketSettings};

use crate::error::ArchiveError;
use bytes::Bytes;
use error::not_there;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path as ObjectPath;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
};
use std::sync::Arc;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one request behind the first; the worker's own pauses come behind them.
const RETRIES_MAX: usize = 2;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// A bucket, or a prefix of one.
#[derive(Debug)]
pub struct Bucket {
    name: String,
    place: String,
    prefix: ObjectPath,
    store: Arc<AmazonS3>,
}

/// A file that lies in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its path below the prefix.
    pub(crate) path: String,
    /// When it was put, by the store's clock; unix seconds, cut.
    pub(crate) put_at_s: i64,
}

impl Bucket {
    /// Makes a client. Asks nothing yet.
    pub fn open(options: &BucketOptions) -> Result<Self, ArchiveError> {
        let place = match options.prefix.as_str() {
            "" => format!("s3://{}", options.bucket),
            prefix => format!("s3://{}/{prefix}", options.bucket),
        };
        let unusable =
            |error: object_store::Error| BucketError::Refused(place.clone(), format!("settings: {error}"));
        let mut client = ClientOptions::new()
            .with_allow_http(options.is_http)
            .with_connect_timeout(CONNECT_TIMEOUT.min(options.timeout))
            .with_timeout(options.timeout);
        if let Some(pem) = &options.ca_pem {
            for certificate in Certificate::from_pem_bundle(pem).map_err(unusable)? {
                client = client.with_root_certificate(certificate);
            }
        }
        let backoff = BackoffConfig { init_backoff: RETRY_MIN, max_backoff: RETRY_MAX, base: 2.0 };
        let retry = RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: options.timeout };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&options.bucket)
            .with_region(&options.region)
            .with_access_key_id(&options.credentials.access_key_id)
            .with_secret_access_key(&options.credentials.secret_access_key)
            .with_virtual_hosted_style_request(!options.path_style)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_allow_http(options.is_http)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(token) = &options.credentials.session_token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = Arc::new(builder.build().map_err(unusable)?);
        let prefix = ObjectPath::from(options.prefix.as_str());
        Ok(Self { name: options.bucket.clone(), place, prefix, store })
    }

    /// Returns the bucket's own URL, without the prefix.
    pub fn url(&self) -> String {
        format!("s3://{}", self.name)
    }

    /// Returns the client, whose paths begin with the prefix.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// Returns where a file of the archive lies in the bucket.
    pub fn path_of(&self, path: &str) -> ObjectPath {
        self.prefix.parts().chain(ObjectPath::from(path).parts()).collect()
    }

    /// Returns what it is called.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Reads an object whole.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, ArchiveError> {
        let read = async { self.store.get(&self.path_of(path)).await?.bytes().await };
        read.await.map_err(|error| self.told(path, error))
    }

    /// Puts a new object: durable when this returns. One that is there already with these very bytes is this one.
    pub(crate) async fn put_new(&self, path: &str, bytes: Bytes) -> Result<(), ArchiveError> {
        let payload = PutPayload::from_bytes(bytes.clone());
        match self.store.put_opts(&self.path_of(path), payload, PutMode::Create.into()).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) if self.get(path).await? == bytes => Ok(()),
            Err(error) => Err(self.told(path, error)),
        }
    }

    /// Says whether the store keeps a name that is taken, as it must.
    pub(crate) async fn keeps_names(&self, path: &str, bytes: Bytes) -> Result<bool, ArchiveError> {
        let payload = PutPayload::from_bytes(bytes);
        match self.store.put_opts(&self.path_of(path), payload, PutMode::Create.into()).await {
            Ok(_) => Ok(false),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(true),
            Err(error) => Err(self.told(path, error)),
        }
    }

    /// Reads the store's clock, unix seconds: no object that is put from now on is of before it.
    pub(crate) async fn clock_s(&self, path: &str) -> Result<i64, ArchiveError> {
        let at = self.path_of(path);
        let told = |error| self.told(path, error);
        self.store.put(&at, PutPayload::from_static(b"a worker began\n")).await.map_err(told)?;
        Ok(self.store.head(&at).await.map_err(told)?.last_modified.timestamp())
    }

    /// Lists every object below the prefix.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, ArchiveError> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let listed = |meta: object_store::ObjectMeta| {
            let rest: Option<ObjectPath> = meta.location.prefix_match(&self.prefix).map(Iterator::collect);
            let put_at_s = meta.last_modified.timestamp();
            rest.map(|path| Listed { path: path.to_string(), put_at_s })
        };
        let found = self.store.list(prefix).try_collect::<Vec<_>>().await;
        Ok(found.map_err(|error| self.told("", error))?.into_iter().filter_map(listed).collect())
    }

    /// Removes objects; one that is gone already is no error.
    pub(crate) async fn remove(&self, paths: &[String]) -> Result<(), ArchiveError> {
        let at: Vec<_> = paths.iter().map(|path| Ok(self.path_of(path))).collect();
        let mut removed = self.store.delete_stream(futures::stream::iter(at).boxed());
        while let Some(done) = removed.next().await {
            match done {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.told("", error)),
            }
        }
        Ok(())
    }

    fn told(&self, path: &str, error: object_store::Error) -> ArchiveError {
        match BucketError::of(&self.place, &error) {
            Some(error) => error.into(),
            None => not_there(path).into(),
        }
    }
}
