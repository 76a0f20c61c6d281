//! A device is told which of its frames went to the quarantine.

use crate::support::{Stand, TOPIC, publish};
use prost::Message;
use std::time::Duration;
use wardline::node::{Role, Roles};
use wardline_proto::v1::{Body, Frame, Lane, NumericSeries};
use wardline_proto::{codes, frame};

fn good(seq: u64) -> Vec<u8> {
    let metric = codes::by_code(147_842).unwrap();
    let series = NumericSeries {
        mdc_code: metric.mdc_code,
        ucum_unit: metric.ucum_unit.to_owned(),
        start_us: 1_700_000_000_000_000,
        time_deltas_us: vec![0],
        values: vec![72.0],
        ..NumericSeries::default()
    };
    framed(seq, series)
}

fn unknown_metric(seq: u64) -> Vec<u8> {
    framed(seq, NumericSeries { mdc_code: 1, values: vec![72.0], ..NumericSeries::default() })
}

fn framed(seq: u64, series: NumericSeries) -> Vec<u8> {
    let (encoding, body) = frame::encode_body(&Body { numerics: vec![series], ..Body::default() });
    let (encoding, lane) = (encoding.into(), Lane::Numerics.into());
    Frame { epoch: 1, seq, encoding, lane, body, ..Frame::default() }.encode_to_vec()
}

#[tokio::test]
async fn a_quarantined_frame_is_told_once_after_the_commit_and_a_good_one_is_not() {
    let stand = Stand::with(|options| {
        options.roles = Roles::new(&[Role::Front, Role::Archive]);
        options.archive.flush_interval = Duration::from_millis(100);
    })
    .await;
    let mut client = stand.session("mon-1", 4).await;
    let filter = "wl/1/demo/mon-1/down/notice";
    client.subscribe(4, filter, 0).await;
    let sent = [good(1), unknown_metric(2), unknown_metric(2), unknown_metric(3)];
    for (id, payload) in (1..).zip(&sent) {
        client.send(&publish(4, 1, id, TOPIC, payload)).await;
    }
    let (mut acks, mut notices) = (0, Vec::new());
    while acks < sent.len() || notices.len() < 2 {
        let packet = client.packet().await.expect("goes on");
        match packet[0] & 0xf0 {
            0x40 => acks += 1,
            _ => notices.push(String::from_utf8_lossy(&packet[4 + filter.len()..]).into_owned()),
        }
    }
    let told = |seq: u64| format!(r#"{{"code":"WL-Q-003","lane":"numerics","epoch":1,"seq":{seq}}}"#);
    assert_eq!(notices, [told(2), told(3)]);
    client.send(&[0xc0, 0]).await;
    assert_eq!(client.packet().await, Some(vec![0xd0, 0]), "and nothing else");
}
