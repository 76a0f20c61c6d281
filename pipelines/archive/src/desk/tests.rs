//! What a replay takes off the counts.

use super::*;
use crate::intake::{ClockBounds, read_publish};
use crate::options::ArchiveOptions;
use prost::Message;
use wardline_proto::frame::encode_body;
use wardline_proto::v1::{Body, Frame, Lane, NumericSeries, PayloadFormat, Publish};

const HOUR_US: i64 = 3_600_000_000;
const INGEST_US: i64 = 1_792_300_000_000_000;
const EPOCH: u64 = 5;

/// A frame that was sent an hour before it came.
fn arrival() -> Arrival {
    let series = NumericSeries {
        mdc_code: 150_456,
        ucum_unit: "%".into(),
        start_us: INGEST_US - HOUR_US,
        time_deltas_us: vec![0],
        values: vec![97.0],
        statuses: vec![],
    };
    let (encoding, body) = encode_body(&Body { numerics: vec![series], ..Body::default() });
    let frame = Frame {
        epoch: EPOCH,
        seq: 3,
        sent_at_us: INGEST_US - HOUR_US,
        encoding: encoding.into(),
        lane: Lane::Numerics.into(),
        body,
        ..Frame::default()
    };
    let publish = Publish {
        tenant: "demo".into(),
        device: "mon-1".into(),
        content: PayloadFormat::Frame.into(),
        payload: frame.encode_to_vec().into(),
        ..Publish::default()
    };
    let bounds = ClockBounds::of(&ArchiveOptions::default());
    let arrived = read_publish(publish, INGEST_US, bounds).unwrap();
    Arrival { offset: 9, partition: 0, ingest_us: INGEST_US, content: Content::Publish(Box::new(arrived)) }
}

#[test]
fn a_frame_that_had_no_position_is_taken_off_where_it_was_counted() {
    let mut desk = Desk::new(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), 10);
    let arrival = arrival();
    let Content::Publish(arrived) = &arrival.content else { panic!("a publish") };
    assert!(arrived.body.is_ok() && arrived.sent_at_us == Some(INGEST_US - HOUR_US));
    let (stream, outer) = (stream_of(&arrived.key, arrived.position.unwrap()), outside(&arrived.key));
    let came = (outer.clone(), hour_of(INGEST_US));
    // The stream has a quarantined frame of its own, in another hour.
    desk.streams.change(&stream).counts.quarantined = 1;
    desk.streams.change(&outer).counts.quarantined = 1;
    desk.hours.change(came.clone()).counts.quarantined = 1;
    let frame = FrameName { tenant: "demo".into(), partition: 0, offset: 9 };
    let again =
        Again { frame, arrival, reason: "WL-PAY-002".into(), holds_place: false, had_position: false };
    desk.take_again(&again);
    assert_eq!(desk.pending.replays[0].1, Outcome::Replayed);
    assert_eq!(desk.streams.change(&stream).counts.quarantined, 1, "it was never counted there");
    assert_eq!(desk.streams.change(&outer).counts.quarantined, 0);
    assert_eq!(desk.hours.change(came).counts.quarantined, 0);
    let written: Vec<_> = desk.hours.changed().into_iter().map(|row| (row.id, row.hour_us)).collect();
    assert!(!written.contains(&(stream, hour_of(INGEST_US))), "an hour that was not read is not written");
}
