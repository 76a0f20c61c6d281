//! What is read here is what prost reads, or it is not read here.

use super::*;
use crate::v1::journal_record::Kind;
use crate::v1::{DeviceEvent, JournalRecord, Publish};
use proptest::prelude::*;
use prost::Message;

/// Values that are left out of a message when they are zero, are one byte, or are as long as can be.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..300_u64, any::<u64>(), Just(u64::MAX)]
}

prop_compose! {
    fn a_series()(
        (mdc_code, start, unit) in (any::<u32>(), number(), prop_oneof![Just("%"), Just(""), Just("mm[Hg]"), Just("Ω")]),
        deltas in proptest::collection::vec(number(), 0..5),
        values in proptest::collection::vec(-1e3..1e3_f64, 0..5),
        statuses in proptest::collection::vec(any::<u32>(), 0..3),
    ) -> NumericSeries {
        NumericSeries {
            mdc_code,
            ucum_unit: unit.to_owned(),
            start_us: start as i64,
            time_deltas_us: deltas.into_iter().map(|delta| delta as i64).collect(),
            values,
            statuses,
        }
    }
}

prop_compose! {
    fn a_frame()(
        (epoch, seq, sent, lane) in (number(), number(), number(), 0..6_i32),
        clock in proptest::option::of((number(), any::<u32>(), 0..5_i32)),
        series in proptest::collection::vec(a_series(), 0..4),
    ) -> Frame {
        let clock = clock.map(|(offset, uncertainty_us, sync_state)| Clock {
            device_offset_us: offset as i64,
            uncertainty_us,
            sync_state,
        });
        let body = Body { numerics: series, ..Body::default() }.encode_to_vec().into();
        Frame { epoch, seq, sent_at_us: sent as i64, clock, encoding: 1, lane, body }
    }
}

prop_compose! {
    fn a_record()(
        frame in a_frame(),
        (ingested, channel, content, for_test) in (number(), 0..5_i32, 0..3_i32, any::<bool>()),
        (tenant, device, serial) in ("[a-z]{0,5}", "[a-z0-9]{0,5}", any::<Vec<u8>>()),
    ) -> JournalRecord {
        let publish = Publish {
            tenant,
            device,
            channel,
            payload: frame.encode_to_vec().into(),
            content,
            certificate_serial: serial,
            for_test,
        };
        JournalRecord { ingested_at_us: ingested as i64, kind: Some(Kind::Publish(publish)) }
    }
}

/// Compares everything that is read of some bytes with what prost reads of them. Says what was read here.
fn agree(bytes: &Bytes) -> (bool, bool, bool) {
    let found = published(bytes);
    let is_text = |name| std::str::from_utf8(name).is_ok();
    if let Some(found) = found.filter(|found| is_text(found.tenant) && is_text(found.device)) {
        let record = JournalRecord::decode(bytes.clone()).unwrap();
        let Some(Kind::Publish(publish)) = record.kind else { panic!("a publish") };
        let known = Published {
            ingested_at_us: record.ingested_at_us,
            tenant: publish.tenant.as_bytes(),
            device: publish.device.as_bytes(),
            channel: publish.channel,
            payload: &publish.payload,
            content: publish.content,
            certificate_serial: &publish.certificate_serial,
        };
        assert_eq!(found, known);
    }
    let framed = frame(bytes);
    if let Some(found) = &framed {
        assert_eq!(Ok(found), Frame::decode(bytes.clone()).as_ref());
    }
    // A body that was used before, with more in it than most that follow.
    let used = NumericSeries {
        ucum_unit: "%".into(),
        values: vec![1.0; 9],
        statuses: vec![7],
        ..NumericSeries::default()
    };
    let mut into = Body { numerics: vec![used; 3], events: vec![DeviceEvent::default()], ..Body::default() };
    let is_read = body(bytes, &mut into).is_some();
    if is_read {
        assert_eq!(Body::decode(bytes.clone()).map(|body| body.encode_to_vec()), Ok(into.encode_to_vec()));
    }
    (found.is_some(), framed.is_some(), is_read)
}

proptest! {
    #[test]
    fn what_is_usual_is_read_and_read_as_prost_reads_it(record in a_record()) {
        let bytes = Bytes::from(record.encode_to_vec());
        prop_assert!(agree(&bytes).0);
        let Some(Kind::Publish(publish)) = record.kind else { panic!("a publish") };
        prop_assert!(agree(&publish.payload).1);
        prop_assert!(agree(&Frame::decode(publish.payload).unwrap().body).2);
    }

    #[test]
    fn damaged_messages_are_read_as_prost_reads_them_or_not_here(
        record in a_record(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let Some(Kind::Publish(publish)) = record.kind.clone() else { panic!("a publish") };
        let body = Frame::decode(publish.payload.clone()).unwrap().body;
        for whole in [record.encode_to_vec().into(), publish.payload, body] {
            let mut bytes = whole.to_vec();
            for (at, byte) in &damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            agree(&bytes.into());
        }
    }

    #[test]
    fn any_bytes_are_read_as_prost_reads_them_or_not_here(bytes: Vec<u8>) {
        agree(&bytes.into());
    }
}

#[test]
fn what_is_not_usual_is_left_to_prost() {
    let cases: [(&str, &[u8]); 6] = [
        ("a number that is longer than it must be", &[0x08, 0x80, 0x00]),
        ("a number that does not fit", &[0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02]),
        ("a field twice", &[0x08, 0x01, 0x08, 0x02]),
        ("fields out of order", &[0x10, 0x01, 0x08, 0x01]),
        ("a field of a later version", &[0x08, 0x01, 0x78, 0x01]),
        ("an end within", &[0x08, 0x01, 0x3A, 0x05, 0x00]),
    ];
    for (what, bytes) in cases {
        assert_eq!(frame(&Bytes::from_static(bytes)), None, "{what}");
    }
}
