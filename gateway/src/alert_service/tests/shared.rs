//! What subscribers of a tenant share: each still hears everything, in order, with the wards as they are now.

use super::events;
use super::rig::{Rig, service};
use std::time::Duration;
use wardline_alert::limits::SHARED_PAGE;
use wardline_proto::v1::{AlarmPhase, Priority, SubscribeRequest};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

fn tenant() -> TenantId {
    TenantId::new("demo").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_starts_far_behind_reads_the_log_and_then_what_all_share() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    rig.alarms(1, 250);
    rig.until_head(500).await;
    let mut client = rig.client(&ward).await.unwrap();
    // The ring begins with its first subscriber, at the end of the log.
    let now = SubscribeRequest { from_now: true, ..SubscribeRequest::default() };
    let mut first = client.subscribe(now).await.unwrap().into_inner();
    let mut late = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    let shared = rig.feed.shared(&tenant()).await.unwrap();
    assert_eq!(shared.held().0, 0, "history does not pass through what is shared");
    rig.alarms(2, 50);
    let heard: Vec<_> = events(&mut late, 600).await.iter().map(|event| event.cursor).collect();
    assert_eq!(heard, (1..=600).collect::<Vec<_>>());
    let heard: Vec<_> = events(&mut first, 100).await.iter().map(|event| event.cursor).collect();
    assert_eq!(heard, (501..=600).collect::<Vec<_>>());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_read_serves_all_and_an_empty_page_says_as_of_when() {
    let rig = Rig::new().await;
    rig.alarms(1, 1);
    rig.until_head(2).await;
    let shared = rig.feed.shared(&tenant()).await.unwrap();
    let asked_us = crate::front::now_us();
    let first = shared.after(2, asked_us).await.unwrap();
    assert!(first.events.is_empty() && first.as_of_us >= asked_us, "{first:?}");
    let again = shared.after(2, asked_us).await.unwrap();
    assert_eq!(again.as_of_us, first.as_of_us, "not read again");
    let later = shared.after(2, first.as_of_us + 1).await.unwrap();
    assert!(later.as_of_us > first.as_of_us, "read again");
    rig.alarms(2, 100);
    rig.until_head(202).await;
    let pages = futures::future::join_all((0..50).map(|_| shared.after(2, 0))).await;
    let first = pages[0].as_ref().unwrap();
    assert_eq!(first.events.len(), SHARED_PAGE as usize);
    for page in &pages {
        let page = page.as_ref().unwrap();
        assert!(std::sync::Arc::ptr_eq(&page.events[0], &first.events[0]), "opened once");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_heard_in_the_ward_where_it_is_now_whatever_was_opened_before() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    let mut client = rig.client(&ward).await.unwrap();
    let mut all = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    rig.alarm("mon-1", 1, ("leads", AlarmPhase::Start, Priority::Medium));
    assert_eq!(events(&mut all, 1).await[0].alert.as_ref().unwrap().site, "", "opened, in no ward");
    rig.place("mon-1", "icu-1").await;
    let key = DeviceKey { tenant: tenant(), device: DeviceId::new("mon-1").unwrap() };
    let known = async {
        while rig.feed.wards().site_of(&key).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), known).await.expect("the ward is known");
    let mut later = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    assert_eq!(events(&mut later, 1).await[0].alert.as_ref().unwrap().site, "icu-1");
    rig.stop().await;
}
