//! Reading a partition: an ordered pull consumer, which the server forgets by itself.

use super::{ask, fault};
use crate::engine::{Delivery, PartitionStream, Position, Wait};
use crate::error::BusError;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::stream::Stream;
use futures::StreamExt;

/// Records that one pull asks for: at most 9 MB with records of the greatest length.
const PULL_RECORDS_MAX: i64 = 64;

pub(super) struct JetStreamTail {
    messages: Ordered,
}

impl JetStreamTail {
    pub(super) async fn open(
        stream: &Stream,
        subject: String,
        from: Position,
    ) -> Result<Box<dyn PartitionStream>, BusError> {
        let config = || OrderedConfig {
            filter_subject: subject.clone(),
            // The first record of a stream has sequence 1.
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.get().max(1) },
            replay_policy: ReplayPolicy::Instant,
            max_batch: PULL_RECORDS_MAX,
            ..OrderedConfig::default()
        };
        // One that was made and not waited for is forgotten by the server.
        let make = || async {
            stream.create_consumer(config()).await.map_err(|e| fault::request("make a consumer", &e))
        };
        let consumer = ask::again(make).await?;
        let messages = consumer.messages().await.map_err(|e| fault::lost("open a stream", &e))?;
        Ok(Box::new(Self { messages }))
    }

    async fn read(&mut self) -> Result<Delivery, BusError> {
        let next = self.messages.next().await;
        let message = next.ok_or_else(|| BusError::Unavailable("jetstream: the stream ended".into()))?;
        let message = message.map_err(|error| fault::lost("read", &error))?;
        let sequence = message.info().map_err(|_| BusError::Unavailable("jetstream: no position".into()))?;
        let position = Position::new(sequence.stream_sequence);
        Ok(Delivery { position, bytes: message.message.payload })
    }
}

impl PartitionStream for JetStreamTail {
    fn next(&mut self) -> Wait<'_, Delivery> {
        Box::pin(self.read())
    }
}
