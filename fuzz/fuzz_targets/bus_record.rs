//! What a worker reads from an engine that may hand out anything, and what it kept of it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use wardline_bus::flow::{Arrival, Checkpoint, Order};
use wardline_bus::{Content, FrontId, Number, Position, Record};
use wardline_proto::PartitionId;

/// Puts the checksum right that a format has at its end, so that the fields behind it are looked at.
fn checkpoint(bytes: &[u8]) {
    let sealed = [bytes, &crc32c::crc32c(bytes).to_le_bytes()].concat();
    if let Ok(checkpoint) = Checkpoint::decode(&sealed) {
        assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
    }
}

fn record(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if let Some((header, body)) = bytes.split_at_mut_checked(40) {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..36]), body);
        header[36..].copy_from_slice(&crc.to_le_bytes());
    }
    let bytes = Bytes::from(bytes);
    if let Ok(record) = Record::decode(&bytes) {
        assert_eq!(record.encode().expect("what was read fits"), bytes, "one record has one form");
    }
}

/// Two fronts' records in any order, with marks and repetitions: each front is delivered without a hole, once.
fn order(bytes: &[u8]) {
    let partition = PartitionId::default();
    let mut order = Order::resume(&Checkpoint::new(partition), Duration::from_millis(1));
    let mut next = [1, 1];
    for (at, pair) in (0..).zip(bytes.chunks_exact(2)) {
        let which = usize::from(pair[0] & 1);
        let Some(n) = Number::new(u64::from(pair[1])) else { continue };
        let content =
            if pair[0] & 2 == 0 { Content::Body(Bytes::from(vec![pair[1]])) } else { Content::Mark };
        let record = Record { front: FrontId::new([which as u8; 16]), partition, n, content };
        if let Arrival::InOrder { first, bodies } =
            order.arrive(record, Position::new(at), Duration::from_millis(at))
        {
            assert_eq!(first.get(), next[which]);
            next[which] += bodies.len() as u64;
        }
        for resend in order.resends(Duration::from_millis(at)) {
            let which = usize::from(resend.front.bytes()[0]);
            assert!(resend.first.get() == next[which] && resend.first <= resend.last);
        }
        if pair[0] & 4 != 0 {
            let kept = order.checkpoint();
            assert!(kept.position.get() <= at + 1, "nothing that is held is skipped");
            assert_eq!(Checkpoint::decode(&kept.encode()), Ok(kept));
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    match mode % 3 {
        0 => record(bytes),
        1 => checkpoint(bytes),
        _ => order(bytes),
    }
});
