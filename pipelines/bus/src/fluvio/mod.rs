//! Fluvio 0.50: a topic with real partitions, committed when every replica has a record in its page cache.
//!
//! It was measured on a real cluster before this was written, and each of these guards stands against something that
//! was seen:
//! - **segments of 8 MB, fetches of 16 MB.** A fetch that is cut in the middle of a batch makes a consumer skip the
//!   rest of the batch without an error (6.8% and 18.9% of two topics), and a follower keep truncated batches. A topic
//!   with other segments is refused.
//! - **read committed on both sides.** The client's default answers when the leader alone has a record.
//! - **a stream per partition, positions of ours.** A stream over several partitions resumes all of them at one
//!   offset, and the engine's own stored offsets have one replica.
//! - **some eight connections.** One serves its requests one after the other, the wait for the commit included.
//! - **the socket's wait is bounded by the environment** (`FLV_SOCKET_WAIT`), which this refuses to start without:
//!   a request on a dead connection otherwise waits a minute.
//! - **one batch of a partition in flight** (the bus's lanes). A client whose queue is full spins and blocks every
//!   partition.
//! - **errors are cleared, and the client is thrown away with its producers.** It does not learn new leaders after a
//!   restart of the controller, and nothing but its replacement helps.
//!
//! Nothing here is synced to a disk by the engine: what a power failure of all replicas takes is asked for again by
//! number. The client has no TLS here, and the servers have none among each other: the network between fronts,
//! workers and servers has to be private and encrypted (docs/adr/0020, docs/cluster.md). Bodies are sealed anyway.

mod client;
mod fault;
mod offsets;
mod stream;

use crate::engine::{Client, Engine, Wait};
use crate::error::BusError;
use crate::limits::{SEGMENT_BYTES, SOCKET_WAIT_MAX};
use crate::options::Topic;
use ::fluvio::metadata::topic::{CleanupPolicy, SegmentBasedPolicy, TopicSpec, TopicStorageConfig};
use ::fluvio::{Fluvio, FluvioAdmin, FluvioClusterConfig};
use client::FluvioClient;
use std::sync::Arc;
use std::time::Duration;

/// The environment's name for how long the client's requests wait, in seconds.
const SOCKET_WAIT: &str = "FLV_SOCKET_WAIT";

/// How to reach a Fluvio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FluvioOptions {
    /// Its controller (SC), as `host:port`.
    pub controller: String,
    /// The topic.
    pub topic: Topic,
    /// Connections that share the partitions; 8 is what was measured to be enough.
    pub connections: usize,
    /// How long a server may take to commit a batch; below the bus's wait for a publish.
    pub commit_timeout: Duration,
}

/// A Fluvio as an engine.
#[derive(Debug)]
pub struct FluvioEngine {
    options: FluvioOptions,
    reads_alone: bool,
}

impl FluvioEngine {
    /// Checks the options and the environment. Nothing is connected.
    pub fn new(options: FluvioOptions) -> Result<Self, BusError> {
        options.topic.check()?;
        if options.controller.is_empty() || options.commit_timeout.is_zero() {
            return Err(BusError::Misconfigured("fluvio: a controller, a commit timeout above zero".into()));
        }
        check_room(&options.topic)?;
        check_socket_wait(std::env::var(SOCKET_WAIT).ok().as_deref())?;
        Ok(Self { options, reads_alone: false })
    }

    /// The same for somebody who only reads: it makes no topic, and asks of the one that is there its partitions alone.
    #[must_use]
    pub fn reading_alone(self) -> Self {
        Self { reads_alone: true, ..self }
    }

    async fn reach(&self) -> Result<Arc<dyn Client>, BusError> {
        let config = FluvioClusterConfig::new(&self.options.controller);
        let fluvio = Fluvio::connect_with_config(&config).await.map_err(|e| fault::lost("connect", &e))?;
        let admin = fluvio.admin().await;
        self.topic(&admin).await?;
        Ok(Arc::new(FluvioClient::new(fluvio, admin, &self.options).await?))
    }

    /// Finds the topic, or makes it; one that differs in what our promises rest on is refused.
    async fn topic(&self, admin: &FluvioAdmin) -> Result<(), BusError> {
        let topic = &self.options.topic;
        let found = admin.list::<TopicSpec, _>(vec![topic.name.clone()]).await;
        let found = found.map_err(|e| fault::lost("find the topic", &e))?;
        let Some(found) = found.into_iter().find(|found| found.name == topic.name) else {
            if self.reads_alone {
                return Err(BusError::NotReady(format!("topic {} is not there", topic.name)));
            }
            let made = admin.create(topic.name.clone(), false, self.spec()).await;
            return made.map_err(|e| fault::lost("make the topic", &e));
        };
        let replicas = found.spec.replicas();
        let segment = found.spec.get_storage().and_then(|storage| storage.segment_size);
        let differs = [
            ("partitions", replicas.partitions() != u32::from(topic.partitions)),
            ("replicas", replicas.replication_factor() != Some(topic.replicas)),
            ("segment size", segment != Some(SEGMENT_BYTES)),
        ];
        // The first is all that a reader rests on.
        let matter = if self.reads_alone { 1 } else { differs.len() };
        match differs.iter().take(matter).find(|(_, differs)| *differs) {
            Some((what, _)) => Err(BusError::TopicDiffers(format!("topic {}: {what}", topic.name))),
            None => Ok(()),
        }
    }

    fn spec(&self) -> TopicSpec {
        let topic = &self.options.topic;
        let mut spec = TopicSpec::new_computed(u32::from(topic.partitions), topic.replicas, None);
        let time_in_seconds = u32::try_from(topic.retention.as_secs()).unwrap_or(u32::MAX);
        spec.set_cleanup_policy(CleanupPolicy::Segment(SegmentBasedPolicy { time_in_seconds }));
        spec.set_storage(TopicStorageConfig {
            segment_size: Some(SEGMENT_BYTES),
            max_partition_size: Some(topic.bytes_max / u64::from(topic.partitions)),
        });
        spec
    }
}

impl Engine for FluvioEngine {
    fn name(&self) -> &'static str {
        "fluvio"
    }

    fn partitions(&self) -> u16 {
        self.options.topic.partitions
    }

    fn is_contiguous(&self) -> bool {
        true
    }

    fn connections(&self) -> usize {
        self.options.connections
    }

    fn connect(&self) -> Wait<'_, Arc<dyn Client>> {
        Box::pin(self.reach())
    }
}

/// The servers make no partition that is smaller than one of its segments.
fn check_room(topic: &Topic) -> Result<(), BusError> {
    let least = u64::from(topic.partitions) * u64::from(SEGMENT_BYTES);
    if topic.bytes_max < least {
        return Err(BusError::Misconfigured(format!(
            "fluvio: topic_bytes_max: at least {least}, a segment of {SEGMENT_BYTES} bytes for each partition"
        )));
    }
    Ok(())
}

/// The client reads the variable once, deep inside; only the environment can set it.
fn check_socket_wait(value: Option<&str>) -> Result<(), BusError> {
    let seconds = value.and_then(|value| value.parse().ok()).filter(|seconds| *seconds > 0);
    match seconds.map(Duration::from_secs).filter(|wait| *wait <= SOCKET_WAIT_MAX) {
        Some(_) => Ok(()),
        None => Err(BusError::Misconfigured(format!(
            "fluvio: set {SOCKET_WAIT} to 4, at most {} seconds, in the environment of the process",
            SOCKET_WAIT_MAX.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_without_room_for_a_segment_is_refused() {
        let topic = |bytes_max| Topic { partitions: 4, bytes_max, ..Topic::default() };
        assert!(check_room(&topic(4 * u64::from(SEGMENT_BYTES))).is_ok());
        let told = check_room(&topic(30_000_000)).unwrap_err().to_string();
        assert!(told.contains("topic_bytes_max: at least 32000000"), "{told}");
    }

    #[test]
    fn a_socket_that_waits_for_a_minute_is_refused() {
        assert!(check_socket_wait(Some("4")).is_ok());
        for wrong in [None, Some(""), Some("0"), Some("60"), Some("-1"), Some("4s")] {
            assert!(check_socket_wait(wrong).is_err(), "{wrong:?}");
        }
    }
}
