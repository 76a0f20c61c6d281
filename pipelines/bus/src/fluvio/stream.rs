//! Reading a partition: one stream of one partition, committed records only, without the client's own retries.

use super::fault;
use crate::engine::{Delivery, PartitionStream, Position, Wait};
use crate::error::BusError;
use crate::limits::FETCH_BYTES_MAX;
use ::fluvio::consumer::{ConsumerConfigExtBuilder, ConsumerStream, RetryMode};
use ::fluvio::dataplane::link::ErrorCode;
use ::fluvio::dataplane::record::ConsumerRecord;
use ::fluvio::{Fluvio, Isolation, Offset};
use bytes::Bytes;
use futures::StreamExt;
use wardline_proto::PartitionId;

type Records = Box<dyn ConsumerStream<Item = Result<ConsumerRecord, ErrorCode>> + Send>;

pub(super) struct FluvioTail {
    records: Records,
}

impl FluvioTail {
    pub(super) async fn open(
        fluvio: &Fluvio,
        topic: &str,
        partition: PartitionId,
        from: Position,
    ) -> Result<Box<dyn PartitionStream>, BusError> {
        let from = i64::try_from(from.get()).unwrap_or(i64::MAX);
        let config = ConsumerConfigExtBuilder::default()
            .topic(topic)
            .partition(u32::from(partition.get()))
            .offset_start(Offset::absolute(from).map_err(|e| fault::lost("open a stream", &e))?)
            .isolation(Isolation::ReadCommitted)
            .max_bytes(FETCH_BYTES_MAX)
            .retry_mode(RetryMode::Disabled)
            .build()
            .map_err(|e| BusError::Misconfigured(format!("fluvio: {e}")))?;
        let records =
            fluvio.consumer_with_config(config).await.map_err(|e| fault::lost("open a stream", &e))?;
        Ok(Box::new(Self { records: Box::new(records) }))
    }

    async fn read(&mut self) -> Result<Delivery, BusError> {
        match self.records.next().await {
            Some(Ok(record)) => {
                let position = u64::try_from(record.offset()).map_err(|e| fault::lost("read", &e))?;
                let bytes = Bytes::copy_from_slice(record.value());
                Ok(Delivery { position: Position::new(position), bytes })
            }
            Some(Err(code)) => Err(fault::code("read", &code)),
            None => Err(BusError::Unavailable("fluvio: the stream ended".into())),
        }
    }
}

impl PartitionStream for FluvioTail {
    fn next(&mut self) -> Wait<'_, Delivery> {
        Box::pin(self.read())
    }
}
