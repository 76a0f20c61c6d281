//! One connection to a Fluvio, with its producer.

use super::offsets::Leaders;
use super::stream::FluvioTail;
use super::{FluvioOptions, fault};
use crate::engine::{Client, PartitionHealth, PartitionStream, Position, Published, Wait};
use crate::error::BusError;
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use ::fluvio::metadata::partition::PartitionSpec;
use ::fluvio::{
    Fluvio, FluvioAdmin, FluvioError, Isolation, Partitioner, PartitionerConfig, ProducerError, RecordKey,
    TopicProducerConfigBuilder, TopicProducerPool,
};
use std::sync::Arc;
use std::time::Duration;
use wardline_proto::PartitionId;

/// How long the producer waits for a batch to grow: a bus's batch is handed over at once.
const LINGER: Duration = Duration::from_millis(5);
/// Batches that the producer queues for a partition. More than a bus's batch can become, whatever the sizes of its
/// records: a queue that is full spins and blocks every partition.
const QUEUE_BATCHES: usize = BATCH_RECORDS_MAX * 2;

pub(super) struct FluvioClient {
    fluvio: Fluvio,
    admin: FluvioAdmin,
    producer: TopicProducerPool,
    leaders: Leaders,
    topic: String,
    replicas: u32,
}

/// Takes the partition out of the record's header, where it stands.
struct ByHeader;

impl Partitioner for ByHeader {
    fn partition(&self, config: &PartitionerConfig, _key: Option<&[u8]>, value: &[u8]) -> u32 {
        let field = value.get(6..8).and_then(|field| <[u8; 2]>::try_from(field).ok());
        field.map_or(0, |field| u32::from(u16::from_le_bytes(field)) % config.partition_count().max(1))
    }
}

impl FluvioClient {
    pub(super) async fn new(
        fluvio: Fluvio,
        admin: FluvioAdmin,
        options: &FluvioOptions,
    ) -> Result<Self, BusError> {
        let config = TopicProducerConfigBuilder::default()
            .partitioner(Arc::new(ByHeader))
            .isolation(Isolation::ReadCommitted)
            .timeout(options.commit_timeout)
            .linger(LINGER)
            .batch_size(BATCH_BYTES_MAX)
            .batch_queue_size(QUEUE_BATCHES)
            .build()
            .map_err(|e| BusError::Misconfigured(format!("fluvio: {e}")))?;
        let topic = options.topic.name.clone();
        let producer = fluvio.topic_producer_with_config(topic.clone(), config).await;
        let producer = producer.map_err(|e| fault::lost("make a producer", &e))?;
        let replicas = options.topic.replicas;
        Ok(Self { fluvio, admin, producer, leaders: Leaders::default(), topic, replicas })
    }

    async fn send(&self, batch: &[Published]) -> Result<Vec<Result<Position, BusError>>, BusError> {
        let mut waits = Vec::with_capacity(batch.len());
        for record in batch {
            waits.push(self.producer.send(RecordKey::NULL, record.bytes.to_vec()).await);
        }
        let mut results = Vec::with_capacity(batch.len());
        for wait in waits {
            let output = match wait {
                Ok(output) => output.wait().await,
                Err(error) => Err(error
                    .downcast::<FluvioError>()
                    .or_else(|error| error.downcast::<ProducerError>().map(FluvioError::Producer))
                    .unwrap_or_else(|error| FluvioError::Other(error.to_string()))),
            };
            results.push(match output {
                Ok(metadata) => Ok(Position::new(u64::try_from(metadata.offset()).unwrap_or(0))),
                Err(error) => Err(fault::publish(&error)),
            });
        }
        // Until then every later publish to the partition fails with the same error.
        if results.iter().any(Result::is_err) {
            self.producer.clear_errors().await;
        }
        Ok(results)
    }

    async fn read(
        &self,
        partition: PartitionId,
        from: Position,
    ) -> Result<Box<dyn PartitionStream>, BusError> {
        // Reading below what retention has left is an error of the engine, not a place to begin.
        let span = self.leaders.span(&self.admin, &self.topic, partition).await?;
        FluvioTail::open(&self.fluvio, &self.topic, partition, from.max(span.start)).await
    }

    async fn look(&self) -> Result<Vec<PartitionHealth>, BusError> {
        let found = self.admin.list::<PartitionSpec, _>(vec![self.topic.clone()]).await;
        let found = found.map_err(|e| fault::lost("ask for the replicas", &e))?;
        let position = |offset: i64| Position::new(u64::try_from(offset).unwrap_or(0));
        let look = |name: &str, status: &::fluvio::metadata::partition::PartitionStatus| {
            let number = name.strip_prefix(&self.topic)?.strip_prefix('-')?.parse().ok()?;
            let follows = status.replicas.iter().filter(|r| r.leo >= status.leader.hw && r.leo >= 0).count();
            Some(PartitionHealth {
                partition: PartitionId::new(number)?,
                led: status.is_online(),
                replicas_current: u32::try_from(follows).unwrap_or(u32::MAX) + u32::from(status.is_online()),
                replicas: self.replicas,
                committed: position(status.leader.hw),
                end: position(status.leader.leo),
            })
        };
        Ok(found.iter().filter_map(|found| look(&found.name, &found.status)).collect())
    }
}

impl Client for FluvioClient {
    fn publish<'a>(
        &'a self,
        _partition: PartitionId,
        batch: &'a [Published],
    ) -> Wait<'a, Vec<Result<Position, BusError>>> {
        Box::pin(self.send(batch))
    }

    fn open(&self, partition: PartitionId, from: Position) -> Wait<'_, Box<dyn PartitionStream>> {
        Box::pin(self.read(partition, from))
    }

    fn watermark(&self, partition: PartitionId) -> Wait<'_, Position> {
        Box::pin(async move { Ok(self.leaders.span(&self.admin, &self.topic, partition).await?.committed) })
    }

    fn trim(&self, _partition: PartitionId, _below: Position) -> Wait<'_, ()> {
        // The engine forgets by age and size alone.
        Box::pin(async { Ok(()) })
    }

    fn health(&self) -> Wait<'_, Vec<PartitionHealth>> {
        Box::pin(self.look())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Content, FrontId, Number, Record};

    #[test]
    fn a_record_goes_to_the_partition_it_names() {
        let config = PartitionerConfig { partition_count: 64, available_partitions: vec![] };
        for number in [0, 1, 5, 63] {
            let partition = PartitionId::new(number).unwrap();
            let (front, n) = (FrontId::new([1; 16]), Number::FIRST);
            let record = Record { front, partition, n, content: Content::Mark }.encode().unwrap();
            assert_eq!(ByHeader.partition(&config, None, &record), u32::from(number));
        }
        assert_eq!(ByHeader.partition(&config, None, b"short"), 0);
    }
}
