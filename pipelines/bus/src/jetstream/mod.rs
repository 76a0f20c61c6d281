//! NATS JetStream: a stream with a subject per partition, on a quorum of replicas.
//!
//! What is relied upon: a publish is answered when a majority of the replicas have written it, and with
//! `sync_interval: always` in the servers' configuration also synced it. Without that setting a server answers
//! before it syncs, and a power failure of a majority loses what was answered; nothing here can see the difference,
//! so the configuration is the operator's duty (docs/cluster.md) and the numbers find what is missing.
//!
//! A stream at its bound refuses (discard new): it never drops the oldest records by itself, but for those older
//! than the retention. All partitions share the stream's sequence, so their positions have holes by nature.

mod ask;
mod client;
mod fault;
mod stream;

use crate::engine::{Client, Engine, Wait};
use crate::error::BusError;
use crate::limits::RECORD_BYTES_MAX;
use crate::options::Topic;
use async_nats::ConnectOptions;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use client::JetStreamClient;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use wardline_proto::PartitionId;

/// What the client does by itself before it gives up and is thrown away.
const RECONNECTS_MAX: usize = 3;
/// Commands that wait for the connection: one batch and the questions beside it, with room to spare.
const COMMANDS_MAX: usize = 1024;

/// TLS to the servers, by files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JetStreamTls {
    /// The authority of the servers' certificates.
    pub authority: PathBuf,
    /// Our certificate and its key, for servers that verify their clients.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How to reach a JetStream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JetStreamOptions {
    /// Its servers, as `nats://host:port`; any of them is enough.
    pub servers: Vec<String>,
    /// TLS; nothing only on a loopback or inside a mesh that does it.
    pub tls: Option<JetStreamTls>,
    /// The topic.
    pub topic: Topic,
    /// For each of the client's own requests; below the bus's waits.
    pub timeout: Duration,
}

/// A JetStream as an engine.
#[derive(Debug)]
pub struct JetStream {
    options: JetStreamOptions,
    reads_alone: bool,
    /// How often there was no room for the topic.
    refusals: AtomicU32,
}

impl JetStream {
    /// Checks the options. Nothing is connected.
    pub fn new(options: JetStreamOptions) -> Result<Self, BusError> {
        options.topic.check()?;
        if options.servers.is_empty() || options.timeout.is_zero() {
            return Err(BusError::Misconfigured(
                "jetstream: at least one server, a timeout above zero".into(),
            ));
        }
        Ok(Self { options, reads_alone: false, refusals: AtomicU32::new(0) })
    }

    /// The same for somebody who only reads: it makes no topic, and asks of the one that is there its partitions alone.
    #[must_use]
    pub fn reading_alone(self) -> Self {
        Self { reads_alone: true, ..self }
    }

    async fn reach(&self) -> Result<Arc<dyn Client>, BusError> {
        let options = &self.options;
        let mut connect = ConnectOptions::new()
            .name("wardline")
            .connection_timeout(options.timeout)
            .request_timeout(Some(options.timeout))
            .client_capacity(COMMANDS_MAX)
            .max_reconnects(RECONNECTS_MAX);
        if let Some(tls) = &options.tls {
            connect = connect.require_tls(true).add_root_certificates(tls.authority.clone());
            if let Some((certificate, key)) = &tls.identity {
                connect = connect.add_client_certificate(certificate.clone(), key.clone());
            }
        }
        let connection = connect.connect(&options.servers).await.map_err(|error| fault::connect(&error))?;
        let context = ContextBuilder::new()
            .timeout(options.timeout)
            .ack_timeout(options.timeout)
            .max_ack_inflight(COMMANDS_MAX)
            .build(connection);
        let stream = self.topic(&context).await?;
        Ok(Arc::new(JetStreamClient::new(context, stream, &options.topic)))
    }

    /// Finds the stream, or makes it; one that differs in what our promises rest on is refused.
    async fn topic(&self, context: &Context) -> Result<Stream, BusError> {
        let wanted = self.config();
        let find = || async {
            match context.get_stream(&wanted.name).await {
                Ok(stream) => Ok(Some(stream)),
                Err(error) if fault::Answer::code(&error) == Some(ErrorCode::STREAM_NOT_FOUND) => Ok(None),
                Err(error) => Err(fault::request("find the stream", &error)),
            }
        };
        let found = match ask::again(find).await? {
            Some(stream) => stream,
            None if self.reads_alone => {
                return Err(BusError::NotReady(format!("stream {} is not there", wanted.name)));
            }
            None => self.make(context, &wanted).await?,
        };
        let has = &found.cached_info().config;
        let mut subjects = has.subjects.clone();
        subjects.sort_unstable_by_key(|subject| (subject.len(), subject.clone()));
        let differs = [
            ("partitions", subjects != wanted.subjects),
            ("replicas", has.num_replicas != wanted.num_replicas),
            ("storage", has.storage != wanted.storage),
            ("retention policy", has.retention != wanted.retention),
            ("discard policy", has.discard != wanted.discard),
            ("acknowledgements", has.no_ack),
        ];
        // The first is all that a reader rests on.
        let matter = if self.reads_alone { 1 } else { differs.len() };
        match differs.iter().take(matter).find(|(_, differs)| *differs) {
            Some((what, _)) => Err(BusError::TopicDiffers(format!("stream {}: {what}", wanted.name))),
            None => Ok(found),
        }
    }

    /// Makes the stream, with as much room as the servers have where less will do.
    async fn make(&self, context: &Context, wanted: &Config) -> Result<Stream, BusError> {
        let (stream, bytes) = (&wanted.name, wanted.max_bytes);
        let made = context.create_stream(wanted.clone()).await.map_err(|error| {
            let refused = fault::topic(&error, (stream, bytes, wanted.num_replicas));
            if matches!(refused, BusError::TopicRefused(_)) {
                self.refusals.fetch_add(1, Ordering::Relaxed);
            }
            refused
        })?;
        if u64::try_from(bytes).is_ok_and(|bytes| bytes < self.options.topic.bytes_max) {
            tracing::warn!(stream, bytes, "the topic is as large as the servers had room for");
        } else {
            tracing::info!(stream, bytes, "topic made");
        }
        Ok(made)
    }

    fn config(&self) -> Config {
        let topic = &self.options.topic;
        let bytes = topic.bytes_after(self.refusals.load(Ordering::Relaxed));
        let subjects = (0..topic.partitions).filter_map(PartitionId::new).map(|p| subject(&topic.name, p));
        Config {
            name: topic.name.clone(),
            subjects: subjects.collect(),
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            num_replicas: topic.replicas as usize,
            max_age: topic.retention,
            max_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            // Headers count; a name is short.
            max_message_size: RECORD_BYTES_MAX as i32 + 1024,
            duplicate_window: topic.duplicate_window,
            ..Config::default()
        }
    }
}

impl Engine for JetStream {
    fn name(&self) -> &'static str {
        "jetstream"
    }

    fn partitions(&self) -> u16 {
        self.options.topic.partitions
    }

    fn is_contiguous(&self) -> bool {
        false
    }

    fn connections(&self) -> usize {
        1
    }

    fn connect(&self) -> Wait<'_, Arc<dyn Client>> {
        Box::pin(self.reach())
    }
}

/// Names a partition's subject.
fn subject(topic: &str, partition: PartitionId) -> String {
    format!("{topic}.{}", partition.get())
}
