//! One connection to a JetStream.

use super::stream::JetStreamTail;
use super::{ask, fault, subject};
use crate::engine::{Client, PartitionHealth, PartitionStream, Position, Published, Wait};
use crate::error::BusError;
use crate::options::Topic;
use async_nats::jetstream::context::{Context, PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use futures::future::join_all;
use std::future::IntoFuture;
use std::time::Duration;
use tokio::time::Instant;
use wardline_proto::PartitionId;

/// For how long, and how often, a publish is tried again that no server takes: below the wait for a publish.
const UNHEARD_MAX: Duration = Duration::from_secs(3);
const UNHEARD_PAUSE: Duration = Duration::from_millis(150);

/// The server's answer to one record; an error comes with the record's length.
type Answer = Result<Position, (PublishError, usize)>;

pub(super) struct JetStreamClient {
    context: Context,
    stream: Stream,
    topic: String,
    partitions: u16,
    replicas: u32,
}

impl JetStreamClient {
    pub(super) fn new(context: Context, stream: Stream, topic: &Topic) -> Self {
        let (name, partitions, replicas) = (topic.name.clone(), topic.partitions, topic.replicas);
        Self { context, stream, topic: name, partitions, replicas }
    }

    async fn send_once(&self, partition: PartitionId, batch: &[Published]) -> Vec<Answer> {
        let subject = subject(&self.topic, partition);
        let mut waits = Vec::with_capacity(batch.len());
        for record in batch {
            // The name drops a retry whose first try was stored; the stream's name keeps a record out of a stream
            // that somebody else made for the subject.
            let message = PublishMessage::build()
                .payload(record.bytes.clone())
                .message_id(&record.name)
                .expected_stream(&self.topic);
            waits.push(self.context.send_publish(subject.clone(), message).await);
        }
        let answer = async |(record, sent): (&Published, Result<PublishAckFuture, PublishError>)| {
            let ack = match sent {
                Ok(sent) => sent.into_future().await,
                Err(error) => Err(error),
            };
            ack.map(|ack| Position::new(ack.sequence)).map_err(|error| (error, record.bytes.len()))
        };
        join_all(batch.iter().zip(waits).map(answer)).await
    }

    /// Publishes, and tries again what no server answered for: the servers learn one after the other that a stream
    /// is there, or has another leader. When it lasts, the stream is gone, and a new connection makes it.
    async fn send(
        &self,
        partition: PartitionId,
        batch: &[Published],
    ) -> Result<Vec<Result<Position, BusError>>, BusError> {
        let mut answers = self.send_once(partition, batch).await;
        let until = Instant::now() + UNHEARD_MAX;
        while Instant::now() < until {
            let unheard =
                |a: &Answer| matches!(a, Err((e, _)) if e.kind() == PublishErrorKind::StreamNotFound);
            if !answers.iter().any(unheard) {
                break;
            }
            tokio::time::sleep(UNHEARD_PAUSE).await;
            let left = answers.iter_mut().zip(batch).filter(|(answer, _)| unheard(answer));
            let (left, records): (Vec<_>, Vec<_>) =
                left.map(|(answer, record)| (answer, record.clone())).unzip();
            let again = self.send_once(partition, &records).await;
            left.into_iter().zip(again).for_each(|(answer, again)| *answer = again);
        }
        let judge = |answer: Answer| answer.map_err(|(error, bytes)| fault::publish(&error, bytes));
        Ok(answers.into_iter().map(judge).collect())
    }

    async fn last(&self, partition: PartitionId) -> Result<Position, BusError> {
        let subject = subject(&self.topic, partition);
        let find = || async {
            match self.stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => Ok(Position::new(message.sequence).next()),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                    Ok(Position::EARLIEST)
                }
                Err(error) => Err(fault::request("find the newest record", &error)),
            }
        };
        ask::again(find).await
    }

    async fn forget(&self, partition: PartitionId, below: Position) -> Result<(), BusError> {
        // The server drops what is below the sequence: the newest of what may go stays.
        let keep = below.get().saturating_sub(1);
        if keep <= 1 {
            return Ok(());
        }
        let purge = self.stream.purge().filter(subject(&self.topic, partition)).sequence(keep);
        purge.into_future().await.map_err(|error| fault::request("trim", &error))?;
        Ok(())
    }

    async fn look(&self) -> Result<Vec<PartitionHealth>, BusError> {
        let info =
            self.stream.get_info().await.map_err(|error| fault::lost("ask for the replicas", &error))?;
        let end = Position::new(info.state.last_sequence).next();
        let cluster = info.cluster.as_ref();
        let followers = cluster.map_or(0, |c| c.replicas.iter().filter(|r| r.current && !r.offline).count());
        let led = cluster.is_none_or(|c| c.leader.is_some());
        let look = |partition| PartitionHealth {
            partition,
            led,
            replicas_current: u32::try_from(followers).unwrap_or(u32::MAX).saturating_add(u32::from(led)),
            replicas: self.replicas,
            // The stream is one: what its leader tells is committed.
            committed: end,
            end,
        };
        Ok((0..self.partitions).filter_map(PartitionId::new).map(look).collect())
    }
}

impl Client for JetStreamClient {
    fn publish<'a>(
        &'a self,
        partition: PartitionId,
        batch: &'a [Published],
    ) -> Wait<'a, Vec<Result<Position, BusError>>> {
        Box::pin(self.send(partition, batch))
    }

    fn open(&self, partition: PartitionId, from: Position) -> Wait<'_, Box<dyn PartitionStream>> {
        Box::pin(JetStreamTail::open(&self.stream, subject(&self.topic, partition), from))
    }

    fn watermark(&self, partition: PartitionId) -> Wait<'_, Position> {
        Box::pin(self.last(partition))
    }

    fn trim(&self, partition: PartitionId, below: Position) -> Wait<'_, ()> {
        Box::pin(self.forget(partition, below))
    }

    fn health(&self) -> Wait<'_, Vec<PartitionHealth>> {
        Box::pin(self.look())
    }
}
