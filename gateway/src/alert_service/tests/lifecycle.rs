//! Acknowledge, pause and escalate: who may, who hears of it, and what a restart leaves of it.

use super::rig::{Certified, Rig, service};
use super::{events, next};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::{
    AcknowledgeRequest, AlarmPhase, Alert, AlertEvent, AlertState, GetAlertRequest, ListAlertsRequest,
    PauseRequest, Priority, SubscribeRequest, SubscribeResponse,
};
use wardline_store::registry::Role;

/// Escalates after a second, twice.
const RULES: &str = "version = 1\n[escalation]\nafter_s = 1\ntimes_max = 2\nfrom_priority = \"high\"\n";

struct Ward {
    rig: Rig,
    nurse: Certified,
    client: AlertServiceClient<Channel>,
    stream: Streaming<SubscribeResponse>,
}

impl Ward {
    async fn new(rules: Option<&str>) -> Self {
        let rig = Rig::ruled(rules, |_| {}).await;
        let nurse = rig.ca.issue(&service("demo"));
        rig.give(&nurse, &[Role::Clinician]).await;
        let mut client = rig.client(&nurse).await.unwrap();
        let stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
        Self { rig, nurse, client, stream }
    }

    async fn told(&mut self) -> (AlarmPhase, String, Alert) {
        let AlertEvent { phase, reason, alert, .. } = events(&mut self.stream, 1).await.remove(0);
        (AlarmPhase::try_from(phase).unwrap(), reason, alert.unwrap())
    }

    async fn raised(&mut self, seq: u64, condition: &str, priority: Priority) -> Alert {
        self.rig.alarm("mon-1", seq, (condition, AlarmPhase::Start, priority));
        let (phase, _, alert) = self.told().await;
        assert_eq!((phase, alert.state()), (AlarmPhase::Start, AlertState::Present));
        alert
    }

    async fn acknowledge(&mut self, alert_id: &str) -> Result<Alert, tonic::Status> {
        let request = AcknowledgeRequest { alert_id: alert_id.into(), ..AcknowledgeRequest::default() };
        self.client.acknowledge(request).await.map(|response| response.into_inner().alert.unwrap())
    }

    async fn pause(&mut self, alert_id: &str, seconds: u32) -> Result<Alert, tonic::Status> {
        let request = PauseRequest { alert_id: alert_id.into(), seconds, ..PauseRequest::default() };
        self.client.pause(request).await.map(|response| response.into_inner().alert.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_subscriber_sees_an_acknowledgement_and_it_is_audited() {
    let mut ward = Ward::new(None).await;
    let alert = ward.raised(1, "leads", Priority::High).await;
    let mut other = ward.rig.client(&ward.nurse).await.unwrap();
    let mut second = other.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    let done = ward.acknowledge(&alert.alert_id).await.unwrap();
    assert_eq!(done.state(), AlertState::Acknowledged);
    let by = done.signal.unwrap();
    assert_eq!(by.acknowledged_by, service("demo"), "from the certificate");
    let (phase, reason, told) = ward.told().await;
    assert_eq!((phase, reason.as_str()), (AlarmPhase::Update, "acknowledged"));
    assert_eq!((told.state(), told.signal), (AlertState::Acknowledged, Some(by)));
    assert_eq!(events(&mut second, 2).await[1].reason, "acknowledged", "also who came later");
    // The same again is the same, and nothing is told twice.
    ward.acknowledge(&alert.alert_id).await.unwrap();
    ward.rig.alarm("mon-1", 2, ("leads", AlarmPhase::End, Priority::High));
    let (phase, _, ended) = ward.told().await;
    assert_eq!((phase, ended.state()), (AlarmPhase::End, AlertState::Ended));
    let over = ward.acknowledge(&alert.alert_id).await.unwrap_err();
    assert!(over.message().starts_with("WL-ALR-003"), "{over:?}");
    let pending = ward.rig.store.audit_outbox_pending(100).await.unwrap();
    let acks: Vec<_> = pending.iter().filter(|row| row.action == "alert_acknowledged").collect();
    assert_eq!(acks.len(), 1, "one act, one entry");
    assert_eq!((acks[0].actor.as_str(), acks[0].outcome.as_str()), (service("demo").as_str(), "ok"));
    assert_eq!(acks[0].target, format!("demo/alert/{}", alert.alert_id));
    ward.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_clinician_or_an_operator_acts_and_only_in_its_tenant() {
    let mut ward = Ward::new(None).await;
    let alert = ward.raised(1, "leads", Priority::High).await;
    let stranger = ward.rig.ca.issue(&service("other"));
    let mut client = ward.rig.client(&stranger).await.unwrap();
    let request = AcknowledgeRequest { alert_id: alert.alert_id.clone(), tenant: "demo".into() };
    let refused = client.acknowledge(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "no role: {refused:?}");
    ward.rig.give(&ward.nurse, &[Role::Auditor]).await;
    let denied = async {
        while ward.acknowledge(&alert.alert_id).await.map_err(|status| status.code())
            != Err(Code::PermissionDenied)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), denied).await.expect("an auditor reads and does not act");
    ward.rig.give(&ward.nurse, &[Role::Clinician]).await;
    for (id, code) in [("x", "WL-ALR-001"), (&"0".repeat(64), "WL-ALR-002")] {
        let mut refused = ward.acknowledge(id).await.unwrap_err();
        while refused.code() == Code::PermissionDenied {
            refused = ward.acknowledge(id).await.unwrap_err();
        }
        assert!(refused.message().starts_with(code), "{refused:?}");
    }
    let too_long = ward.pause(&alert.alert_id, 3601).await.unwrap_err();
    assert!(too_long.message().starts_with("WL-ALR-001"), "{too_long:?}");
    let foreign = ListAlertsRequest { tenant: "other".into(), ..ListAlertsRequest::default() };
    assert_eq!(ward.client.list_alerts(foreign).await.unwrap_err().code(), Code::PermissionDenied);
    ward.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_by_itself_and_hides_nothing_higher() {
    let mut ward = Ward::new(None).await;
    let alert = ward.raised(1, "leads", Priority::Medium).await;
    let paused = ward.pause(&alert.alert_id, 2).await.unwrap();
    assert_eq!(paused.state(), AlertState::Paused);
    assert_eq!(ward.told().await.1, "paused");
    // The same condition comes back while it is paused; another one, and a higher one, are not covered.
    ward.rig.alarm("mon-1", 2, ("leads", AlarmPhase::End, Priority::Medium));
    assert_eq!(ward.told().await.0, AlarmPhase::End);
    ward.rig.alarm("mon-1", 3, ("leads", AlarmPhase::Start, Priority::Medium));
    let (_, _, back) = ward.told().await;
    assert_eq!((back.state(), back.signal.unwrap().paused_by), (AlertState::Paused, service("demo")));
    ward.raised(4, "other", Priority::Medium).await;
    ward.rig.alarm("mon-1", 5, ("leads", AlarmPhase::Escalate, Priority::High));
    let (phase, _, higher) = ward.told().await;
    assert_eq!((phase, higher.state()), (AlarmPhase::Escalate, AlertState::Present));
    // Paused again, it comes back by time alone.
    ward.pause(&higher.alert_id, 1).await.unwrap();
    assert_eq!(ward.told().await.1, "paused");
    let (_, reason, present) = ward.told().await;
    assert_eq!((reason.as_str(), present.state()), ("pause_expired", AlertState::Present));
    let request = GetAlertRequest { alert_id: higher.alert_id, ..GetAlertRequest::default() };
    let now = ward.client.get_alert(request).await.unwrap().into_inner().alert.unwrap();
    assert_eq!(now.state(), AlertState::Present);
    ward.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acknowledges_and_it_escalates_over_a_killed_engine_up_to_its_bound() {
    let mut ward = Ward::new(Some(RULES)).await;
    let alert = ward.raised(1, "leads", Priority::High).await;
    // The engine dies; what time does is no part of it.
    ward.rig.kill_engine().await;
    let (phase, reason, escalated) = ward.told().await;
    assert_eq!((phase, reason.as_str()), (AlarmPhase::Escalate, "unacknowledged"));
    assert_eq!((escalated.alert_id, escalated.signal.unwrap().escalations), (alert.alert_id.clone(), 1));
    ward.rig.start_engine();
    assert_eq!(ward.told().await.2.signal.unwrap().escalations, 2);
    let quiet = tokio::time::timeout(Duration::from_millis(1_500), ward.told()).await;
    assert!(quiet.is_err(), "two are the bound: {quiet:?}");
    ward.acknowledge(&alert.alert_id).await.unwrap();
    assert_eq!(ward.told().await.1, "acknowledged");
    ward.rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_narrowed_by_state_priority_ward_and_device() {
    let mut ward = Ward::new(None).await;
    ward.rig.place("mon-1", "icu-1").await;
    ward.rig.place("mon-2", "icu-2").await;
    let seen_to = ward.raised(1, "leads", Priority::High).await;
    ward.raised(2, "probe", Priority::Low).await;
    ward.rig.alarm("mon-2", 1, ("leads", AlarmPhase::Start, Priority::Medium));
    ward.acknowledge(&seen_to.alert_id).await.unwrap();
    let known = async {
        while ward.rig.feed.wards().by_tenant().values().next().map_or(0, |sites| sites.len()) < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), known).await.expect("the wards are known");
    ward.rig.until_head(4).await;
    let all = ListAlertsRequest::default;
    let cases = [
        (all(), 3),
        (ListAlertsRequest { states: vec![AlertState::Acknowledged.into()], ..all() }, 1),
        (ListAlertsRequest { min_priority: Priority::Medium.into(), ..all() }, 2),
        (ListAlertsRequest { sites: vec!["icu-1".into()], ..all() }, 2),
        (ListAlertsRequest { devices: vec!["mon-2".into()], ..all() }, 1),
        (ListAlertsRequest { sites: vec!["icu-9".into()], ..all() }, 0),
        (ListAlertsRequest { page_size: 1, ..all() }, 1),
    ];
    for (request, count) in cases {
        let mut listed = ward.client.list_alerts(request.clone()).await.unwrap().into_inner().alerts;
        // The watch over the wards has its own say, in a ward's name or none.
        listed.retain(|alert| !alert.device.is_empty());
        assert_eq!(listed.len(), count, "{request:?}");
    }
    let ward_2 = SubscribeRequest { sites: vec!["icu-2".into()], ..SubscribeRequest::default() };
    let mut stream = ward.client.subscribe(ward_2).await.unwrap().into_inner();
    let first = events(&mut stream, 1).await.remove(0).alert.unwrap();
    assert_eq!((first.device.as_str(), first.site.as_str()), ("mon-2", "icu-2"));
    next(&mut ward.stream).await.unwrap();
    ward.rig.stop().await;
}
