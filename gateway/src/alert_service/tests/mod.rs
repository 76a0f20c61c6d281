//! The service over real mTLS, on a real journal and a real database.

mod cut;
mod ledger;
mod lifecycle;
mod rig;
mod roles;
mod shared;
mod wards;
mod watch;
mod webhook;

use rig::{Rig, device, service};
use std::time::Duration;
use tonic::{Code, Status, Streaming};
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, AlertEvent, ListAlertsRequest, Priority, SubscribeRequest, SubscribeResponse,
};

async fn next(stream: &mut Streaming<SubscribeResponse>) -> Result<Option<Kind>, Status> {
    let response = tokio::time::timeout(Duration::from_secs(10), stream.message()).await.expect("in time")?;
    Ok(response.and_then(|r| r.kind))
}

async fn events(stream: &mut Streaming<SubscribeResponse>, count: usize) -> Vec<AlertEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        match next(stream).await.unwrap() {
            Some(Kind::Event(event)) => events.push(event),
            Some(Kind::Heartbeat(_)) => {}
            None => panic!("the stream ended"),
        }
    }
    events
}

async fn refusal(rig: &Rig, certificate: &rig::Certified, request: SubscribeRequest) -> Status {
    rig.client(certificate).await.unwrap().subscribe(request).await.expect_err("refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_drops_misses_nothing() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    rig.alarms(1, 2);
    let mut client = rig.client(&ward).await.unwrap();
    let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    let mut heard = events(&mut stream, 4).await;
    drop((stream, client));
    rig.alarms(2, 3);
    let cursor = heard.last().unwrap().cursor;
    let mut client = rig.client(&ward).await.unwrap();
    let request = SubscribeRequest { cursor, ..SubscribeRequest::default() };
    let mut stream = client.subscribe(request).await.unwrap().into_inner();
    heard.extend(events(&mut stream, 6).await);
    rig.alarms(3, 1);
    heard.extend(events(&mut stream, 2).await);
    let cursors: Vec<_> = heard.iter().map(|e| e.cursor).collect();
    assert_eq!(cursors, (1..=12).collect::<Vec<_>>());
    let phases =
        heard.chunks(2).all(|p| (p[0].phase(), p[1].phase()) == (AlarmPhase::Start, AlarmPhase::End));
    assert!(phases, "each alert begins and ends");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_listen() {
    let rig = Rig::new().await;
    let request = SubscribeRequest::default;
    let monitor = rig.ca.issue(&device("demo"));
    let refused = refusal(&rig, &monitor, request()).await;
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    rig.register(&monitor).await;
    let known = async {
        while refusal(&rig, &monitor, request()).await.code() != Code::PermissionDenied {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), known).await.expect("a registered device may hear nothing");
    let refused =
        refusal(&rig, &rig.ca.issue("spiffe://other.domain/tenant/demo/service/s"), request()).await;
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().starts_with("WL-ID-001"), "{refused:?}");
    let foreign = rig::Ca::new().issue(&service("demo"));
    assert!(rig.is_shut_out(Some(&foreign)).await, "another authority");
    assert!(rig.is_shut_out(None).await, "no certificate");
    rig.alarms(1, 1);
    let mut other = rig.client(&rig.ca.issue(&service("other"))).await.unwrap();
    let listed = other
        .list_alerts(ListAlertsRequest { include_ended: true, ..ListAlertsRequest::default() })
        .await
        .unwrap();
    assert!(listed.into_inner().alerts.is_empty(), "another tenant sees nothing");
    let mut stream = other.subscribe(request()).await.unwrap().into_inner();
    assert!(matches!(next(&mut stream).await, Ok(Some(Kind::Heartbeat(beat))) if beat.cursor == 0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_filters_and_impossible_cursors() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    rig.alarms(1, 1);
    let mut client = rig.client(&ward).await.unwrap();
    events(&mut client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner(), 2).await;
    let past = SubscribeRequest { cursor: 3, ..SubscribeRequest::default() };
    assert_eq!(refusal(&rig, &ward, past).await.code(), Code::OutOfRange);
    let filters = [
        SubscribeRequest { min_priority: Priority::High.into(), ..SubscribeRequest::default() },
        SubscribeRequest { kinds: vec![AlarmKind::Advisory.into()], ..SubscribeRequest::default() },
        SubscribeRequest { from_now: true, ..SubscribeRequest::default() },
    ];
    for request in filters {
        let mut stream = client.subscribe(request).await.unwrap().into_inner();
        let Ok(Some(Kind::Heartbeat(beat))) = next(&mut stream).await else { panic!("a heartbeat first") };
        assert_eq!(beat.cursor, 2, "what was filtered is not missed");
        assert!(beat.engine_lag_ms.is_some_and(|lag| lag < 5_000));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_is_cut_and_resumes() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    let mut client = rig.client(&ward).await.unwrap();
    let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    for seq in 1..=4 {
        rig.alarms(seq, 500);
    }
    rig.until_head(4000).await;
    tokio::time::sleep(rig::SLOW_AFTER * 6).await;
    let (mut last, cut) = (0, loop_until_cut(&mut stream).await);
    for event in &cut.0 {
        assert_eq!(event.cursor, last + 1);
        last = event.cursor;
    }
    assert_eq!(cut.1.code(), Code::ResourceExhausted, "{:?}", cut.1);
    assert!(last < 4000, "it was cut before the end: {last}");
    let request = SubscribeRequest { cursor: last, ..SubscribeRequest::default() };
    let mut stream = client.subscribe(request).await.unwrap().into_inner();
    let rest = events(&mut stream, 4000 - last as usize).await;
    assert_eq!(rest.last().map(|e| e.cursor), Some(4000));
    rig.stop().await;
}

async fn loop_until_cut(stream: &mut Streaming<SubscribeResponse>) -> (Vec<AlertEvent>, Status) {
    let mut heard = Vec::new();
    loop {
        match next(stream).await {
            Ok(Some(Kind::Event(event))) => heard.push(event),
            Ok(Some(Kind::Heartbeat(_))) => {}
            Ok(None) => panic!("ended without a status"),
            Err(status) => return (heard, status),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_told() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    let mut client = rig.client(&ward).await.unwrap();
    let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    assert!(matches!(next(&mut stream).await, Ok(Some(Kind::Heartbeat(_)))));
    let told = async {
        loop {
            if let Err(status) = next(&mut stream).await {
                return status;
            }
        }
    };
    let (status, ()) = tokio::join!(told, rig.stop());
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("resume by cursor"), "{}", status.message());
}
