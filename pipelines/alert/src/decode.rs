//! From a journal record to what the engine is fed. What does not decode is the archive's to quarantine; here it is
//! counted and passed over, so that one bad record never stops the alarms of others. What may have held alarms is told of:
//! an alarm that was lost is not silence (ALR-2).

use crate::observation::Observation;
use bytes::Bytes;
use prost::Message;
use wardline_proto::audit::{SESSION_CONTESTED, device_of};
use wardline_proto::frame::FrameHeader;
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{JournalRecord, Lane, PayloadFormat, Publish};
use wardline_proto::{DeviceId, DeviceKey, TenantId, frame, json};

/// What a journal record is to the engine.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    /// A publish to decide on.
    Seen(Box<Observation>),
    /// A certificate that seems to be in use in two places.
    Contested {
        /// Whose.
        key: DeviceKey,
    },
    /// A publish that may hold alarms, and cannot be read.
    Unread {
        /// Whose.
        key: DeviceKey,
    },
    /// Nothing that can raise an alarm; time moves on.
    Other,
    /// Bytes that do not decode.
    Poison,
}

/// Decodes one record.
pub(crate) fn decode(payload: Bytes) -> Decoded {
    let Ok(record) = JournalRecord::decode(payload) else { return Decoded::Poison };
    let ingested_at_us = record.ingested_at_us;
    match record.kind {
        // Nobody is paged for a device on a test bench.
        Some(Kind::Publish(publish)) if publish.for_test => Decoded::Other,
        Some(Kind::Publish(publish)) => read(publish, ingested_at_us).unwrap_or(Decoded::Poison),
        Some(Kind::Audit(event)) if event.action == SESSION_CONTESTED => match device_of(&event.actor) {
            Some(key) => Decoded::Contested { key },
            None => Decoded::Other,
        },
        _ => Decoded::Other,
    }
}

fn read(publish: Publish, ingested_at_us: i64) -> Option<Decoded> {
    let key = DeviceKey {
        tenant: TenantId::new(&publish.tenant).ok()?,
        device: DeviceId::new(&publish.device).ok()?,
    };
    if publish.content() == PayloadFormat::Json {
        return Some(json_of(key, &publish.payload, ingested_at_us));
    }
    let (header, frame) = frame::decode(publish.payload).ok()?;
    if header.lane == Lane::Events {
        return Some(Decoded::Other);
    }
    let Ok(body) = frame::decode_body(&frame) else {
        return (header.lane == Lane::Alarm).then_some(Decoded::Unread { key });
    };
    let seen = Observation::of_frame(key, header, frame.clock, ingested_at_us, body);
    Some(Decoded::Seen(Box::new(seen)))
}

fn json_of(key: DeviceKey, payload: &[u8], ingested_at_us: i64) -> Decoded {
    // It has no lane: what does not decode may be an alarm.
    let Ok(decoded) = json::decode(payload, ingested_at_us) else { return Decoded::Unread { key } };
    let json::JsonPublish { position, body, .. } = decoded;
    // A device that numbers its messages numbers them across lanes: one window sees them all.
    let header = position.map(|(epoch, seq)| FrameHeader { epoch, seq, lane: Lane::Unspecified });
    let seen = Observation { key, header, ingested_at_us, device_offset_us: 0, body };
    Decoded::Seen(Box::new(seen))
}
