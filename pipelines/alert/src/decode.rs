//! From a journal record to what the engine is fed. What does not decode is the archive's to quarantine; here it is
//! counted and passed over, so that one bad record never stops the alarms of others.

use crate::observation::Observation;
use bytes::Bytes;
use prost::Message;
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{JournalRecord, Lane, PayloadFormat, Publish};
use wardline_proto::{DeviceId, DeviceKey, TenantId, frame};

/// What a journal record is to the engine.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    /// A publish to decide on.
    Seen(Box<Observation>),
    /// Nothing that can raise an alarm; time moves on.
    Other {
        /// When the front accepted it, unix microseconds.
        ingested_at_us: i64,
    },
    /// Bytes that do not decode.
    Poison,
}

/// Decodes one record.
pub(crate) fn decode(payload: Bytes) -> Decoded {
    let Ok(record) = JournalRecord::decode(payload) else { return Decoded::Poison };
    let ingested_at_us = record.ingested_at_us;
    match record.kind {
        Some(Kind::Publish(publish)) => read(publish, ingested_at_us).unwrap_or(Decoded::Poison),
        _ => Decoded::Other { ingested_at_us },
    }
}

fn read(publish: Publish, ingested_at_us: i64) -> Option<Decoded> {
    let key = DeviceKey {
        tenant: TenantId::new(&publish.tenant).ok()?,
        device: DeviceId::new(&publish.device).ok()?,
    };
    if publish.content() == PayloadFormat::Json {
        return None;
    }
    let (header, frame) = frame::decode(publish.payload).ok()?;
    if header.lane == Lane::Events {
        return Some(Decoded::Other { ingested_at_us });
    }
    let body = frame::decode_body(&frame).ok()?;
    let seen = Observation::of_frame(key, header, frame.clock, ingested_at_us, body);
    Some(Decoded::Seen(Box::new(seen)))
}
