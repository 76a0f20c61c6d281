//! A subscription lives no longer than its certificate (SEC-2).

use super::rig::{Rig, SLOW_AFTER, service};
use super::{next, refusal};
use crate::access::CODE_METADATA;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tonic::{Code, Status, Streaming};
use wardline_proto::v1::{ListAlertsRequest, SubscribeRequest, SubscribeResponse};

const CUT_MAX: Duration = Duration::from_secs(2);

async fn until_cut(stream: &mut Streaming<SubscribeResponse>) -> Status {
    loop {
        match next(stream).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended without a status"),
            Err(status) => return status,
        }
    }
}

fn says(status: &Status, code: &str) {
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(status.message().starts_with(code), "{status:?}");
    assert_eq!(status.metadata().get(CODE_METADATA).unwrap(), code);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_calls_nothing() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    let mut client = rig.client(&ward).await.unwrap();
    client.list_alerts(ListAlertsRequest::default()).await.unwrap();
    rig.revoke(&ward).await;
    let revoked_at = Instant::now();
    // On the connection that it had before.
    while client.list_alerts(ListAlertsRequest::default()).await.is_ok() {
        assert!(revoked_at.elapsed() < CUT_MAX);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = refusal(&rig, &ward, SubscribeRequest::default()).await;
    says(&refused, "WL-ID-002");
    let actor = (service("demo"), "WL-ID-002".to_owned());
    let audited = async {
        while !rig.audited().contains(&actor) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), audited).await.expect("audited");
    // Another certificate of the same service is not that certificate.
    let renewed = rig.ca.issue(&service("demo"));
    rig.client(&renewed).await.unwrap().list_alerts(ListAlertsRequest::default()).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_an_idle_subscription() {
    let rig = Rig::with(|options| options.heartbeat = Duration::from_secs(3600)).await;
    let (ward, other) = (rig.ca.issue(&service("demo")), rig.ca.issue(&service("demo")));
    let mut streams = Vec::new();
    for certificate in [&ward, &other] {
        let mut client = rig.client(certificate).await.unwrap();
        let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
        next(&mut stream).await.unwrap();
        streams.push(stream);
    }
    rig.revoke(&ward).await;
    let revoked_at = Instant::now();
    let status = until_cut(&mut streams[0]).await;
    assert!(revoked_at.elapsed() < CUT_MAX, "{:?}", revoked_at.elapsed());
    says(&status, "WL-ID-002");
    rig.alarms(1, 1);
    next(&mut streams[1]).await.unwrap().expect("the other goes on");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_a_subscriber_that_takes_nothing() {
    // It would be waited for long past the bound.
    let rig = Rig::with(|options| options.slow_after = Duration::from_secs(60)).await;
    let ward = rig.ca.issue(&service("demo"));
    let mut client = rig.client(&ward).await.unwrap();
    let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    for seq in 1..=4 {
        rig.alarms(seq, 500);
    }
    rig.until_head(4000).await;
    tokio::time::sleep(SLOW_AFTER).await;
    assert_eq!(rig.metrics.subscribers.get(), 1);
    rig.revoke(&ward).await;
    let revoked_at = Instant::now();
    while rig.metrics.subscribers.get() > 0 {
        assert!(revoked_at.elapsed() < CUT_MAX, "still subscribed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut heard = 0;
    while let Ok(Some(_)) = next(&mut stream).await {
        heard += 1;
    }
    // What its own window of 4 KiB held, not what waited for it.
    assert!(heard < 200, "{heard}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_with_its_certificate() {
    let rig = Rig::with(|options| options.heartbeat = Duration::from_secs(3600)).await;
    let not_after = OffsetDateTime::now_utc() + Duration::from_secs(2);
    let ward = rig.ca.issue_until(&service("demo"), not_after);
    let mut client = rig.client(&ward).await.unwrap();
    let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    let status = until_cut(&mut stream).await;
    let past = OffsetDateTime::now_utc() - not_after;
    assert!(past < CUT_MAX, "{past}");
    says(&status, "WL-ID-003");
    rig.stop().await;
}
