//! What a replay takes off the counts.

use super::*;
use crate::intake::{ClockBounds, Intake};
use crate::options::ArchiveOptions;
use prost::Message;
use wardline_proto::frame::encode_body;
use wardline_proto::v1::{Body, Frame, Lane, NumericSeries, PayloadFormat, Publish};
use wardline_store::Store;
use wardline_store::replay::FrameName;

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
    let arrived = Intake::new(bounds).read_publish(publish, INGEST_US).unwrap();
    Arrival { offset: 9, partition: 0, ingest_us: INGEST_US, content: Content::Publish(arrived) }
}

#[tokio::test]
async fn a_frame_that_had_no_position_is_taken_off_where_it_was_counted() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Store::open(&folder.path().join("wardline.db")).await.unwrap());
    let mut desk = Desk::new(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), 10);
    let frame = FrameName { tenant: "demo".into(), partition: 0, offset: 9 };
    let reason = "WL-PAY-002".into();
    let mut frames = [Again { frame, arrival: arrival(), reason, holds_place: false, had_position: false }];
    desk.load_again(&mut frames, &catalog, 4).await.unwrap();
    let Content::Publish(arrived) = &frames[0].arrival.content else { panic!("a publish") };
    assert!(arrived.body.is_ok() && arrived.sent_at_us == Some(INGEST_US - HOUR_US));
    let slots = arrived.slots.unwrap();
    let (stream, outer) = (slots.own.unwrap(), slots.device.outside);
    let came = desk.hours.find(outer, hour_of(INGEST_US)).unwrap();
    // The stream has a quarantined frame of its own, in another hour.
    desk.streams.change(stream).counts.quarantined = 1;
    desk.streams.change(outer).counts.quarantined = 1;
    desk.hours.change(came).counts.quarantined = 1;
    desk.take_again(&frames[0]);
    assert_eq!(desk.pending.replays[0].1, Outcome::Replayed);
    assert_eq!(desk.streams.change(stream).counts.quarantined, 1, "it was never counted there");
    assert_eq!(desk.streams.change(outer).counts.quarantined, 0);
    assert_eq!(desk.hours.change(came).counts.quarantined, 0);
    let written: Vec<_> =
        desk.hours.changed(&desk.streams).into_iter().map(|row| (row.id, row.hour_us)).collect();
    let untouched = (desk.streams.id(stream).clone(), hour_of(INGEST_US));
    assert!(!written.contains(&untouched), "an hour in which nothing changed is not written");
}
