//! A clinician hears and touches what is of its wards, and of no ward, alone.

use super::events;
use super::rig::{Rig, service};
use crate::front::now_us;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wardline_alert::Selection;
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::{
    AcknowledgeRequest, AlarmPhase, AlertOverride, EndOverrideRequest, GetAlertRequest, ListAlertsRequest,
    ListDeliveriesRequest, ListListenersRequest, ListOverridesRequest, Listener, OverrideSetting,
    PauseRequest, Priority, ReleaseListenerRequest, SetOverrideRequest, SubscribeRequest,
};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::outbox::Change;
use wardline_store::registry::{NewBinding, Role, SITES_MAX, Sites};

fn tenant() -> TenantId {
    TenantId::new("demo").unwrap()
}

fn elsewhere<T: std::fmt::Debug>(done: Result<T, Status>) {
    let refused = done.unwrap_err();
    assert!(
        refused.code() == Code::PermissionDenied && refused.message().contains("WL-ID-008"),
        "{refused:?}"
    );
}

/// Two wards with a patient each, and a device of no ward.
async fn wards() -> Rig {
    let rig = Rig::new().await;
    for (device, site) in [("icu-1", "icu"), ("er-1", "er")] {
        rig.place(device, site).await;
        let device = DeviceKey { tenant: tenant(), device: DeviceId::new(device).unwrap() };
        let binding =
            NewBinding { device, subject: format!("p-{site}"), from_us: now_us() - 1, until_us: None };
        rig.store.bind(&Change::new("os:nurse@ward", now_us()), &binding).await.unwrap();
    }
    rig
}

async fn until_bound(rig: &Rig, nurse: &super::rig::Certified) {
    let mut client = rig.client(nurse).await.unwrap();
    let bound = async {
        let of_er = || ListAlertsRequest { sites: vec!["er".into()], ..ListAlertsRequest::default() };
        while client.list_alerts(of_er()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), bound).await.expect("the sites are in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinician_hears_its_ward_and_what_is_of_none_and_touches_no_other() {
    let rig = wards().await;
    let nurse = rig.ca.issue(&service("demo"));
    rig.give_at(&[Role::Clinician], Sites::of(["icu"]).unwrap()).await;
    until_bound(&rig, &nurse).await;
    for (number, device) in ["icu-1", "er-1", "loose", "er-1", "icu-1"].into_iter().enumerate() {
        let condition = format!("leads-{number}");
        rig.alarm(device, number as u64 + 1, (&condition, AlarmPhase::Start, Priority::High));
    }
    let mut client = rig.client(&nurse).await.unwrap();
    let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    let mut heard = Vec::new();
    while heard.len() < 3 {
        // The system's own alerts are of no device.
        let told = events(&mut stream, 1).await.into_iter().filter_map(|event| event.alert);
        heard.extend(told.map(|alert| alert.device).filter(|device| !device.is_empty()));
    }
    assert_eq!(heard, ["icu-1", "loose", "icu-1"], "of the ward and of none");
    let listed = client.list_alerts(ListAlertsRequest::default()).await.unwrap().into_inner().alerts;
    let mut listed: Vec<_> = listed.iter().map(|alert| alert.device.as_str()).collect();
    listed.retain(|device| !device.is_empty());
    listed.sort_unstable();
    assert_eq!(listed, ["icu-1", "icu-1", "loose"]);
    elsewhere(client.subscribe(SubscribeRequest { sites: vec!["er".into()], ..Default::default() }).await);

    let all = rig.feed.select(&tenant(), true, &Selection::default(), 10).await.unwrap();
    assert_eq!(all.iter().filter(|alert| !alert.device.is_empty()).count(), 5);
    for alert in all {
        let (alert_id, is_mine) = (alert.alert_id, alert.device != "er-1");
        let get = GetAlertRequest { alert_id: alert_id.clone(), ..Default::default() };
        let acknowledge = AcknowledgeRequest { alert_id: alert_id.clone(), ..Default::default() };
        let pause = PauseRequest { alert_id, seconds: 5, ..Default::default() };
        let done = [
            client.get_alert(get).await.map(drop),
            client.pause(pause).await.map(drop),
            client.acknowledge(acknowledge).await.map(drop),
        ];
        for done in done {
            match is_mine {
                true => done.unwrap(),
                // As if there were none: an id of another ward tells nothing.
                false => assert_eq!(done.unwrap_err().code(), Code::NotFound),
            }
        }
    }
    rig.give_at(&[Role::Clinician], Sites::default()).await;
    let mut bare = rig.client(&nurse).await.unwrap();
    let refused = async {
        while bare.list_alerts(ListAlertsRequest::default()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("without a site there is no answer");
    elsewhere(bare.list_alerts(ListAlertsRequest::default()).await);
    elsewhere(bare.subscribe(SubscribeRequest::default()).await);
    elsewhere(bare.list_overrides(ListOverridesRequest::default()).await);
    rig.stop().await;
}

fn limit(site: &str, subject: &str) -> SetOverrideRequest {
    let said = AlertOverride {
        rule_id: "spo2-low".into(),
        setting: OverrideSetting::Below.into(),
        value: 84.0,
        site: site.into(),
        subject: subject.into(),
        reason: "COPD".into(),
        ..AlertOverride::default()
    };
    SetOverrideRequest { r#override: Some(said) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinician_changes_limits_of_its_ward_and_its_patients_alone() {
    let rig = wards().await;
    let nurse = rig.ca.issue(&service("demo"));
    rig.give(&nurse, &[Role::Operator]).await;
    let mut client = rig.client(&nurse).await.unwrap();
    let mut ids = Vec::new();
    for (site, subject) in [("", ""), ("er", ""), ("", "p-er"), ("icu", ""), ("", "p-icu")] {
        let set = client.set_override(limit(site, subject)).await.unwrap().into_inner();
        ids.push(set.r#override.unwrap().override_id);
    }
    rig.give_at(&[Role::Clinician], Sites::of(["icu"]).unwrap()).await;
    until_bound(&rig, &nurse).await;
    let listed = client.list_overrides(ListOverridesRequest::default()).await.unwrap().into_inner().overrides;
    let mut read: Vec<_> = listed.iter().map(|row| row.override_id).collect();
    read.sort_unstable();
    assert_eq!(read, [ids[0], ids[3], ids[4]], "its own, and what is for the whole tenant");
    for (site, subject) in [("", ""), ("er", ""), ("", "p-er"), ("", "p-nobody")] {
        elsewhere(client.set_override(limit(site, subject)).await);
    }
    client.set_override(limit("icu", "")).await.unwrap();
    client.set_override(limit("", "p-icu")).await.unwrap();
    for (override_id, is_mine) in ids.into_iter().zip([false, false, false, true, true]) {
        let ended = client.end_override(EndOverrideRequest { override_id, ..Default::default() }).await;
        if is_mine { drop(ended.unwrap()) } else { elsewhere(ended) }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_when_its_sites_change_and_comes_back_to_the_new_ones() {
    let rig = wards().await;
    let nurse = rig.ca.issue(&service("demo"));
    rig.give_at(&[Role::Clinician], Sites::of(["icu"]).unwrap()).await;
    until_bound(&rig, &nurse).await;
    let mut client = rig.client(&nurse).await.unwrap();
    let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    rig.give_at(&[Role::Clinician], Sites::of(["er"]).unwrap()).await;
    let ended = async {
        loop {
            if let Err(status) = stream.message().await {
                break status;
            }
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the stream ends");
    assert!(status.code() == Code::Aborted && status.message().contains("WL-ID-009"), "{status:?}");
    rig.alarm("icu-1", 1, ("leads-1", AlarmPhase::Start, Priority::High));
    rig.alarm("er-1", 1, ("leads-2", AlarmPhase::Start, Priority::High));
    let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    let heard = loop {
        let told = events(&mut stream, 1).await.into_iter().filter_map(|event| event.alert);
        if let Some(alert) = told.into_iter().find(|alert| !alert.device.is_empty()) {
            break alert.device;
        }
    };
    assert_eq!(heard, "er-1");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn less_of_a_role_is_not_more_to_hear_and_many_wards_are_one_filter() {
    let rig = wards().await;
    let nurse = rig.ca.issue(&service("demo"));
    let names: Vec<_> = (0..SITES_MAX).map(|number| format!("ward-{number}")).collect();
    rig.give_at(&[Role::Clinician], Sites::of(names.iter().map(String::as_str)).unwrap()).await;
    until_bound(&rig, &nurse).await;
    let mut client = rig.client(&nurse).await.unwrap();
    client.list_alerts(ListAlertsRequest::default()).await.unwrap();
    let listener = Some(Listener { name: "desk".into(), lease_s: 5, ..Listener::default() });
    let lease = SubscribeRequest { listener, ..SubscribeRequest::default() };
    let _desk = client.subscribe(lease).await.unwrap();
    let listener = format!("{}#desk", service("demo"));
    let release =
        || ReleaseListenerRequest { listener: listener.clone(), ..ReleaseListenerRequest::default() };
    rig.give_at(&[Role::Clinician], Sites::of(["icu"]).unwrap()).await;
    let of_ward = || ListAlertsRequest { sites: vec!["ward-7".into()], ..ListAlertsRequest::default() };
    let moved = async {
        while client.list_alerts(of_ward()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), moved).await.expect("the sites are in force");
    elsewhere(client.release_listener(release()).await);
    // An analyst without a site hears nothing, and is told so.
    rig.give_at(&[Role::Analyst], Sites::default()).await;
    let bound = async {
        while client.list_alerts(ListAlertsRequest::default()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), bound).await.expect("an analyst hears no alerts");
    elsewhere(client.subscribe(SubscribeRequest::default()).await);
    rig.give_at(&[Role::Operator], Sites::default()).await;
    let released = async {
        while client.release_listener(release()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), released).await.expect("an operator releases it");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinician_reads_of_the_ledger_what_is_of_its_ward_and_of_none() {
    let rig = wards().await;
    let nurse = rig.ca.issue(&service("demo"));
    rig.give(&nurse, &[Role::Operator]).await;
    let mut client = rig.client(&nurse).await.unwrap();
    // A relay of the tenant, with three desks.
    let relay = service("demo").replace("service/ward", "service/relay");
    let mut desks = rig.client(&rig.ca.issue(&relay)).await.unwrap();
    let mut streams = Vec::new();
    for (name, sites) in [("all", &[][..]), ("icu", &["icu"]), ("er", &["er"]), ("both", &["er", "icu"])] {
        let listener = Some(Listener { name: name.into(), lease_s: 60, ..Listener::default() });
        let sites = sites.iter().map(|site| (*site).to_owned()).collect();
        let wanted = SubscribeRequest { listener, sites, ..SubscribeRequest::default() };
        streams.push(desks.subscribe(wanted).await.unwrap().into_inner());
    }
    for (seq, device) in (1..).zip(["icu-1", "loose", "er-1"]) {
        rig.alarm(device, seq, ("leads", AlarmPhase::Start, Priority::High));
        // The one of the other ward is the newest line.
        let selected = async || rig.feed.select(&tenant(), true, &Selection::default(), 100).await.unwrap();
        while selected().await.iter().filter(|alert| !alert.device.is_empty()).count() < seq as usize {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let alerts = rig.feed.select(&tenant(), true, &Selection::default(), 100).await.unwrap();
    // What the system says of itself since is of no device.
    let device_of = |id: &str| {
        let alert = alerts.iter().find(|alert| alert.alert_id == id);
        alert.map_or_else(String::new, |alert| alert.device.clone())
    };
    let lines = async |client: &mut AlertServiceClient<Channel>| {
        let told =
            client.list_deliveries(ListDeliveriesRequest::default()).await.unwrap().into_inner().deliveries;
        let mut devices: Vec<_> = told.iter().map(|line| device_of(&line.alert_id)).collect();
        devices.retain(|device| !device.is_empty());
        devices.sort_unstable();
        devices
    };
    let all = ["er-1", "er-1", "er-1", "icu-1", "icu-1", "icu-1", "loose", "loose", "loose", "loose"];
    let sent = async {
        while lines(&mut client).await != all {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), sent).await.expect("an operator reads all of it");
    rig.give_at(&[Role::Clinician], Sites::of(["icu"]).unwrap()).await;
    until_bound(&rig, &nurse).await;
    assert_eq!(lines(&mut client).await, all[3..], "whoever was told of it");
    // It may be what the system says of itself, on a machine that is slow.
    let one = ListDeliveriesRequest { page_size: 1, ..ListDeliveriesRequest::default() };
    let told = client.list_deliveries(one).await.unwrap().into_inner().deliveries;
    assert_eq!(told.len(), 1, "what is passed over does not fill the page");
    let told = client.list_listeners(ListListenersRequest::default()).await.unwrap().into_inner().listeners;
    let told: Vec<_> =
        told.iter().map(|row| (row.listener.rsplit_once('#').unwrap().1, row.sites.join(","))).collect();
    let icu = || "icu".to_owned();
    assert_eq!(told, [("all", String::new()), ("both", icu()), ("icu", icu())]);
    rig.give_at(&[Role::Clinician], Sites::default()).await;
    let refused = async {
        while client.list_listeners(ListListenersRequest::default()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("without a site there is no answer");
    elsewhere(client.list_listeners(ListListenersRequest::default()).await);
    elsewhere(client.list_deliveries(ListDeliveriesRequest::default()).await);
    rig.stop().await;
}
