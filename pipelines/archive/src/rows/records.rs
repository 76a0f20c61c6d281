//! `quarantine`: what was acknowledged and is not good, whole.

use super::Added;
use super::columns::{Terms, Times, number, optional, terms, time};
use super::common::lane_name;
use crate::intake::{Arrival, Content};
use crate::tenant::SYSTEM;
use arrow_array::ArrayRef;
use arrow_array::builder::{BinaryBuilder, StringBuilder, UInt16Builder, UInt64Builder};
use arrow_schema::{DataType, Field};
use std::sync::Arc;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{PayloadFormat, UpChannel};

const ROW_BYTES: usize = 160;

pub(super) fn quarantine_fields() -> Vec<Field> {
    vec![
        terms("tenant"),
        optional(terms("device")),
        optional(number("epoch", DataType::UInt64)),
        optional(terms("lane")),
        optional(number("seq", DataType::UInt64)),
        time("ingest_time"),
        terms("reason"),
        terms("channel"),
        terms("format"),
        number("payload", DataType::Binary),
        optional(number("certificate_serial", DataType::Binary)),
        number("partition", DataType::UInt16),
        number("journal_offset", DataType::UInt64),
        optional(terms("profile")),
        optional(number("detail", DataType::Utf8)),
    ]
}

#[derive(Debug, Default)]
pub(crate) struct QuarantineBuilder {
    tenant: Terms,
    device: Terms,
    epoch: UInt64Builder,
    lane: Terms,
    seq: UInt64Builder,
    ingest_time: Times,
    reason: Terms,
    channel: Terms,
    format: Terms,
    payload: BinaryBuilder,
    serial: BinaryBuilder,
    partition: UInt16Builder,
    offset: UInt64Builder,
    profile: Terms,
    detail: StringBuilder,
}

impl QuarantineBuilder {
    pub(super) fn push(&mut self, arrival: &Arrival, why: Refusal) -> Added {
        let publish = match &arrival.content {
            Content::Publish(arrived) => Some(arrived),
            Content::Unreadable(_) | Content::Audit(_) | Content::Held(_) => None,
        };
        let position = publish.and_then(|p| p.position);
        let payload = match &arrival.content {
            Content::Publish(arrived) => &arrived.payload[..],
            Content::Unreadable(record) => record,
            Content::Audit(_) | Content::Held(_) => &[],
        };
        self.tenant.push(Some(publish.map_or(SYSTEM, |p| p.key.tenant.as_str())));
        self.device.push(publish.map(|p| p.key.device.as_str()));
        self.epoch.append_option(position.map(|p| p.epoch));
        self.lane.push(position.and_then(|p| lane_name(p.lane)));
        self.seq.append_option(position.map(|p| p.seq));
        self.ingest_time.push(Some(arrival.ingest_us));
        self.reason.push(Some(why.code()));
        self.channel.push(Some(channel_name(publish.map_or(UpChannel::Unspecified, |p| p.channel))));
        self.format.push(Some(publish.map_or("record", |p| format_name(p.format))));
        self.payload.append_value(payload);
        self.serial.append_option(publish.map(|p| &p.certificate_serial));
        self.partition.append_value(arrival.partition);
        self.offset.append_value(arrival.offset);
        self.profile.push(publish.and_then(|p| p.profile.as_ref()).map(|profile| profile.name.as_str()));
        self.detail.append_option(publish.and_then(|p| p.breach.as_ref()).map(|breach| breach.0.as_str()));
        Added::rows(1, ROW_BYTES + payload.len(), arrival.ingest_us, arrival.ingest_us)
    }

    pub(super) fn finish(mut self) -> Vec<ArrayRef> {
        vec![
            self.tenant.finish(),
            self.device.finish(),
            Arc::new(self.epoch.finish()),
            self.lane.finish(),
            Arc::new(self.seq.finish()),
            self.ingest_time.finish(),
            self.reason.finish(),
            self.channel.finish(),
            self.format.finish(),
            Arc::new(self.payload.finish()),
            Arc::new(self.serial.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            self.profile.finish(),
            Arc::new(self.detail.finish()),
        ]
    }
}

fn channel_name(channel: UpChannel) -> &'static str {
    match channel {
        UpChannel::Unspecified => "unknown",
        UpChannel::Telemetry => "telemetry",
        UpChannel::Alarm => "alarm",
        UpChannel::Event => "event",
        UpChannel::Response => "response",
    }
}

/// Returns the channel of a name in the archive.
pub(crate) fn channel_of(name: &str) -> UpChannel {
    let known = [UpChannel::Telemetry, UpChannel::Alarm, UpChannel::Event, UpChannel::Response];
    known.into_iter().find(|channel| channel_name(*channel) == name).unwrap_or(UpChannel::Unspecified)
}

fn format_name(format: PayloadFormat) -> &'static str {
    match format {
        PayloadFormat::Json => "json",
        PayloadFormat::Frame | PayloadFormat::Unspecified => "frame",
    }
}
