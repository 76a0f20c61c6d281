//! A disk that fills: telemetry is refused first, alarms are acknowledged from the journal's reserve (ACK-2).

use crate::support::{Client, Stand, TOPIC, publish};
use prost::Message;
use wardline_journal::fault::FaultStorage;
use wardline_proto::frame;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Body, DeviceAlarm, Frame, Lane, NumericSeries, Priority};

fn numerics(seq: u64) -> Vec<u8> {
    // Distinct values, so that it does not compress away.
    let values = (0..800).map(|n| f64::from(n) * 1.37 + seq as f64).collect();
    let series = NumericSeries { mdc_code: 147_842, values, ..NumericSeries::default() };
    framed(Lane::Numerics, seq, &Body { numerics: vec![series], ..Body::default() })
}

fn alarm(seq: u64) -> Vec<u8> {
    let alarm = DeviceAlarm {
        condition_id: "leads".into(),
        kind: AlarmKind::Technical.into(),
        priority: Priority::High.into(),
        phase: AlarmPhase::Start.into(),
        at_us: 1,
        ..DeviceAlarm::default()
    };
    framed(Lane::Alarm, seq, &Body { alarms: vec![alarm], ..Body::default() })
}

fn framed(lane: Lane, seq: u64, body: &Body) -> Vec<u8> {
    let (encoding, body) = frame::encode_body(body);
    let (encoding, lane) = (encoding.into(), lane.into());
    Frame { epoch: 1, seq, encoding, lane, body, ..Frame::default() }.encode_to_vec()
}

async fn answer(client: &mut Client, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    client.send(&publish(5, 1, id, topic, payload)).await;
    client.packet().await.expect("a full disk ends no session")
}

#[tokio::test]
async fn alarms_are_acknowledged_while_telemetry_is_refused() {
    let disk = FaultStorage::new(7, 1 << 20);
    let stand = Stand::on(Some(disk.process()), |options| {
        options.journal.reserve_bytes = 0;
        options.journal.segment_bytes = 64 << 10;
    })
    .await;
    let mut client = stand.session("mon-1", 5).await;
    disk.set_free_bytes(0);
    let mut acked = 0;
    let refused = loop {
        let answer = answer(&mut client, acked + 1, TOPIC, &numerics(u64::from(acked) + 1)).await;
        if answer.len() > 4 {
            break answer;
        }
        acked += 1;
        assert!(acked < 200, "telemetry is never refused");
    };
    assert_eq!(refused.last(), Some(&0x97));
    stand.audited("refused", "WL-JRN-001").await;
    for seq in 1..=20 {
        let id = 1000 + seq as u16;
        let answered = answer(&mut client, id, "wl/1/demo/mon-1/up/alarm", &alarm(seq)).await;
        assert_eq!(answered, vec![0x40, 2, (id >> 8) as u8, id as u8], "alarm {seq}");
    }
    let again = answer(&mut client, 2000, TOPIC, &numerics(900)).await;
    assert_eq!(again.last(), Some(&0x97), "telemetry still waits");
    disk.set_free_bytes(1 << 20);
    let mut tries = 0;
    while answer(&mut client, 3000 + tries, TOPIC, &numerics(901)).await.len() > 4 {
        tries += 1;
        assert!(tries < 200, "room came back");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(stand.publishes().len(), usize::from(acked) + 20 + 1);
}
