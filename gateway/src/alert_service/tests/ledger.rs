//! The ledger: who was sent what, who accepted it, and who does not keep up.

use super::rig::{Rig, SLOW_AFTER, service};
use super::{events, next};
use std::time::Duration;
use tonic::Code;
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{
    ConfirmRequest, ListDeliveriesRequest, ListListenersRequest, Listener, ListenerState, SubscribeRequest,
};
use wardline_store::registry::Role;

fn listener(name: &str, lease_s: u32) -> SubscribeRequest {
    let listener = Some(Listener { name: name.into(), lease_s, behind_s: 0 });
    SubscribeRequest { listener, ..SubscribeRequest::default() }
}

fn confirm(name: &str, cursor: u64) -> ConfirmRequest {
    ConfirmRequest { name: name.into(), cursor, release: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_sent_then_accepted_and_a_resend_is_counted() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    rig.give(&ward, &[Role::Clinician]).await;
    rig.alarms(1, 2);
    let mut client = rig.client(&ward).await.unwrap();
    let mut stream = client.subscribe(listener("desk", 60)).await.unwrap().into_inner();
    events(&mut stream, 4).await;
    let lines = |open| ListDeliveriesRequest { open, ..ListDeliveriesRequest::default() };
    let sent = client.list_deliveries(lines(true)).await.unwrap().into_inner().deliveries;
    assert_eq!(sent.iter().map(|line| line.cursor).collect::<Vec<_>>(), [4, 3, 2, 1]);
    assert_eq!(sent[0].listener, format!("{}#desk", service("demo")));
    let confirmed = client.confirm(confirm("desk", 3)).await.unwrap().into_inner();
    assert!(confirmed.leased_until_us > sent[0].sent_at_us);
    let open = client.list_deliveries(lines(true)).await.unwrap().into_inner().deliveries;
    assert_eq!(open.iter().map(|line| line.cursor).collect::<Vec<_>>(), [4]);
    let all = client.list_deliveries(lines(false)).await.unwrap().into_inner().deliveries;
    assert!(all[1..].iter().all(|line| line.accepted_at_us >= line.sent_at_us && line.times == 1));
    // From the beginning again: sent twice, and what was accepted stays accepted.
    drop(stream);
    let mut stream = client.subscribe(listener("desk", 60)).await.unwrap().into_inner();
    events(&mut stream, 4).await;
    let again = client.list_deliveries(lines(false)).await.unwrap().into_inner().deliveries;
    assert!(again.iter().all(|line| line.times == 2));
    assert_eq!(again[1].accepted_at_us, all[1].accepted_at_us);
    let of_alert = ListDeliveriesRequest { alert_id: again[3].alert_id.clone(), ..lines(false) };
    assert_eq!(client.list_deliveries(of_alert).await.unwrap().into_inner().deliveries.len(), 2);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_confirms_for_another_and_nothing_that_was_not_sent() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    rig.alarms(1, 1);
    let mut client = rig.client(&ward).await.unwrap();
    let mut stream = client.subscribe(listener("desk", 60)).await.unwrap().into_inner();
    events(&mut stream, 2).await;
    for bad in [confirm("desk", 3), confirm("", 1), confirm("other", 1)] {
        let refused = client.confirm(bad).await.unwrap_err();
        assert!(refused.message().starts_with("WL-ALR-004"), "{refused:?}");
    }
    let stranger = rig.ca.issue(&service("other"));
    let refused = rig.client(&stranger).await.unwrap().confirm(confirm("desk", 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "the name is the certificate's own");
    let refused = client.subscribe(listener("desk", 1)).await.unwrap_err();
    assert!(refused.message().starts_with("WL-ALR-001"), "{refused:?}");
    let refused = client.list_deliveries(ListDeliveriesRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "the ledger needs a role");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_without_a_lease_takes_nobodys() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    rig.give(&ward, &[Role::Clinician]).await;
    rig.alarms(1, 1);
    let mut client = rig.client(&ward).await.unwrap();
    let mut leased = client.subscribe(listener("", 60)).await.unwrap().into_inner();
    events(&mut leased, 2).await;
    // The same certificate, no name, no lease, and of one priority alone.
    let plain = SubscribeRequest { from_now: true, min_priority: 3, ..SubscribeRequest::default() };
    let _plain = client.subscribe(plain.clone()).await.unwrap().into_inner();
    let listeners = async |client: &mut wardline_proto::v1::alert_service_client::AlertServiceClient<_>| {
        client.list_listeners(ListListenersRequest::default()).await.unwrap().into_inner().listeners
    };
    let known = listeners(&mut client).await;
    let told: Vec<_> =
        known.iter().map(|l| (l.listener.as_str(), l.lease_s, l.confirmed, l.misses.as_str())).collect();
    let (uri, beside) = (service("demo"), format!("{}~", service("demo")));
    assert_eq!(told, [(uri.as_str(), 60, 0, ""), (beside.as_str(), 0, 2, "priority")]);
    assert!(known[0].leased_until_us > 0);
    let confirmed = client.confirm(confirm("", 2)).await.unwrap().into_inner();
    assert!(confirmed.leased_until_us > 0, "its lease is still its own");
    rig.stop().await;
}

/// Many listen, one takes nothing: all others have everything before the stuck one is even given up.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stuck_costs_the_others_nothing() {
    const OTHERS: usize = 100;
    const EVENTS: usize = 600;
    let rig = Rig::with(|options| options.slow_after = Duration::from_secs(120)).await;
    let ward = rig.ca.issue(&service("demo"));
    rig.give(&ward, &[Role::Clinician]).await;
    let mut stuck_client = rig.client(&ward).await.unwrap();
    let stuck = stuck_client.subscribe(listener("stuck", 60)).await.unwrap().into_inner();
    let mut streams = Vec::new();
    for number in 0..OTHERS {
        let mut client = rig.client(&ward).await.unwrap();
        let stream = client.subscribe(listener(&format!("l{number}"), 60)).await.unwrap().into_inner();
        streams.push(tokio::spawn(async move {
            let _connection = client;
            let mut stream = stream;
            events(&mut stream, EVENTS).await.len()
        }));
    }
    rig.alarms(1, EVENTS as i64 / 2);
    for stream in streams {
        assert_eq!(stream.await.unwrap(), EVENTS);
    }
    assert_eq!(rig.metrics.subscribers_cut.get(), 0, "the stuck one is still being waited for");
    let listeners =
        stuck_client.list_listeners(ListListenersRequest::default()).await.unwrap().into_inner().listeners;
    for listener in &listeners {
        let is_stuck = listener.listener.ends_with("#stuck");
        // What its connection and its queue of 4 held: bounded, however much there is.
        // The others may have heard besides what the system says of itself where the machine is slow.
        let bound = if is_stuck { listener.sent < 200 } else { listener.sent >= EVENTS as u64 };
        assert!(bound, "{listener:?}");
    }
    drop(stuck);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_is_marked_as_lagging_until_it_comes_back() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    rig.give(&ward, &[Role::Clinician]).await;
    let mut client = rig.client(&ward).await.unwrap();
    let stuck = client.subscribe(listener("stuck", 60)).await.unwrap().into_inner();
    rig.alarms(1, 500);
    rig.alarms(2, 500);
    rig.until_head(2000).await;
    let mut asking = rig.client(&ward).await.unwrap();
    let state =
        async |wanted: ListenerState,
               asking: &mut wardline_proto::v1::alert_service_client::AlertServiceClient<_>| {
            let reached = async {
                loop {
                    let request = ListListenersRequest::default();
                    let listeners = asking.list_listeners(request).await.unwrap().into_inner().listeners;
                    if listeners[0].state() == wanted {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(SLOW_AFTER * 20, reached).await.expect("marked");
        };
    state(ListenerState::Lagging, &mut asking).await;
    drop(stuck);
    let again = SubscribeRequest { from_now: true, ..listener("stuck", 60) };
    let mut stream = client.subscribe(again).await.unwrap().into_inner();
    assert!(matches!(next(&mut stream).await, Ok(Some(Kind::Heartbeat(_)))));
    state(ListenerState::Listening, &mut asking).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_before_what_was_forgotten_is_refused_with_its_code() {
    let rig = Rig::new().await;
    let ward = rig.ca.issue(&service("demo"));
    rig.alarms(1, 1);
    rig.until_head(2).await;
    assert_eq!(rig.store.forget_alerts(i64::MAX).await.unwrap(), 1);
    rig.alarms(2, 1);
    let mut client = rig.client(&ward).await.unwrap();
    let from = |cursor| SubscribeRequest { cursor, ..SubscribeRequest::default() };
    let refused = client.subscribe(from(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().starts_with("WL-ALR-006"), "{refused:?}");
    for cursor in [0, 2] {
        let mut stream = client.subscribe(from(cursor)).await.unwrap().into_inner();
        assert_eq!(events(&mut stream, 2).await[0].cursor, 3, "from {cursor}");
    }
    rig.stop().await;
}
