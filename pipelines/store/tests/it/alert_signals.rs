//! Signals, ledger and watch: what is done about alerts, on both databases.

use crate::alerts::{event, step};
use crate::rig::{on_both, tenant};
use prost::Message;
use wardline_proto::v1::{AlarmPhase, AlertState, Priority};
use wardline_store::Store;
use wardline_store::alert_acts::Acted;
use wardline_store::alert_ledger::{Confirmation, DeliveryFilter, Hearing, ListenerRow, Sent};
use wardline_store::alert_signal::{Act, Condition, Policy, Said};
use wardline_store::alerts::NewEvent;
use wardline_store::outbox::Change;

const POLICY: Policy = Policy {
    latching: true,
    escalate_after_us: 100,
    escalations_max: 1,
    escalate_from: 0,
    realarm_after_us: 0,
};

fn latching(alert_id: &str, ended_us: i64) -> NewEvent {
    let event = event(alert_id, ended_us);
    let condition = Condition { policy: POLICY, ..event.condition };
    NewEvent { condition, ..event }
}

fn said(acted: Acted) -> Said {
    let Acted::Done(event) = acted else { panic!("{acted:?}") };
    Said::decode(event.said.unwrap().as_slice()).unwrap()
}

fn by(at_us: i64) -> Change {
    Change::new("spiffe://t/tenant/st-mary/user/nurse", at_us)
}

async fn act(store: &Store, alert_id: &str, act: Act, at_us: i64) -> Acted {
    store.act_on_alert(&tenant("st-mary"), alert_id, &act, &by(at_us)).await.unwrap()
}

fn acknowledge() -> Act {
    Act::Acknowledge { by: "nurse".into() }
}

#[test]
fn an_act_is_an_event_and_an_audit_entry_or_nothing() {
    on_both(|store| async move {
        store.commit_alerts(&step(0, vec![latching("a", 0)])).await.unwrap();
        assert_eq!(act(&store, "b", acknowledge(), 9).await, Acted::Missing);
        let done = said(act(&store, "a", acknowledge(), 9).await);
        assert_eq!((done.phase(), done.signal.state()), (AlarmPhase::Update, AlertState::Acknowledged));
        assert!(matches!(act(&store, "a", acknowledge(), 10).await, Acted::Unchanged(_)));
        assert_eq!(store.alert_head(&tenant("st-mary")).await.unwrap(), 2);
        let audited = store.audit_outbox_pending(10).await.unwrap();
        let audited: Vec<_> = audited.iter().map(|row| (row.action.as_str(), row.target.as_str())).collect();
        assert_eq!(audited, [("alert_acknowledged", "st-mary/alert/a")]);
        store.commit_alerts(&step(1, vec![latching("a", 20)])).await.unwrap();
        assert_eq!(act(&store, "a", acknowledge(), 21).await, Acted::Over);
    });
}

#[test]
fn a_latched_alert_is_listed_until_it_is_acknowledged_and_time_acts_on_it_once() {
    on_both(|store| async move {
        store.commit_alerts(&step(0, vec![latching("a", 0), latching("a", 20)])).await.unwrap();
        let listed = store.alerts(&tenant("st-mary"), false, None, 10).await.unwrap();
        assert_eq!(listed[0].signal.as_ref().unwrap().state(), AlertState::Latched);
        assert_eq!(store.alerts_due(106, 10).await.unwrap(), []);
        let due = store.alerts_due(107, 10).await.unwrap();
        assert_eq!(due.iter().map(|due| due.alert_id.as_str()).collect::<Vec<_>>(), ["a"]);
        // Two look at the clock at once: one event.
        let both = [store.clone(), store.clone()]
            .map(|store| tokio::spawn(async move { act(&store, "a", Act::Expire, 107).await }));
        let mut done = 0;
        for one in both {
            done += usize::from(matches!(one.await.unwrap(), Acted::Done(_)));
        }
        assert_eq!((done, store.alerts_due(i64::MAX, 10).await.unwrap()), (1, vec![]));
        assert_eq!(said(act(&store, "a", acknowledge(), 200).await).phase(), AlarmPhase::End);
        assert!(store.alerts(&tenant("st-mary"), false, None, 10).await.unwrap().is_empty());
    });
}

/// What fell due while nothing ran is told once, each for its own reason, and not again after the next restart.
#[tokio::test]
async fn escalation_pause_and_alarming_again_outlive_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || Store::open(&folder.path().join("wardline.db")).await.unwrap();
    let policy = Policy { latching: false, realarm_after_us: 50, ..POLICY };
    let with = |alert_id: &str| {
        let event = latching(alert_id, 0);
        let condition = Condition { condition_id: alert_id.into(), policy, ..event.condition };
        NewEvent { condition, ..event }
    };
    let store = open().await;
    store.commit_alerts(&step(0, vec![with("a"), with("b"), with("c")])).await.unwrap();
    said(act(&store, "b", Act::Pause { by: "nurse".into(), until_us: 90 }, 8).await);
    said(act(&store, "c", acknowledge(), 9).await);
    store.close().await;

    let store = open().await;
    let due = async |store: &Store, now_us| {
        let due = store.alerts_due(now_us, 10).await.unwrap();
        due.into_iter().map(|due| due.alert_id).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(due(&store, 58).await.is_empty(), "a restart brings nothing forward");
    assert_eq!(due(&store, 59).await, ["c".to_owned()].into());
    assert_eq!(due(&store, 90).await, ["b".to_owned(), "c".to_owned()].into());
    let mut told = Vec::new();
    for alert_id in due(&store, 200).await {
        let done = said(act(&store, &alert_id, Act::Expire, 200).await);
        told.push((alert_id, done.phase(), done.reason, done.signal.state()));
    }
    let expected = [
        ("a", AlarmPhase::Escalate, "unacknowledged"),
        ("b", AlarmPhase::Update, "pause_expired"),
        ("c", AlarmPhase::Continue, "re_alarm"),
    ];
    let expected =
        expected.map(|(id, phase, why)| (id.to_owned(), phase, why.to_owned(), AlertState::Present));
    assert_eq!(told, expected);
    store.close().await;

    let store = open().await;
    assert!(due(&store, 200).await.is_empty());
    for alert_id in ["a", "b", "c"] {
        assert!(matches!(act(&store, alert_id, Act::Expire, 200).await, Acted::Unchanged(_)));
    }
    assert_eq!(due(&store, 300).await, ["b".to_owned(), "c".to_owned()].into(), "their escalation runs anew");
}

#[test]
fn a_pause_covers_the_condition_that_comes_back_and_no_higher_one() {
    on_both(|store| async move {
        let with = |alert_id: &str, priority| {
            let event = event(alert_id, 0);
            let condition = Condition { condition_id: "c".into(), priority, ..event.condition };
            NewEvent { condition, ..event }
        };
        use wardline_proto::v1::Priority::{High, Medium};
        store.commit_alerts(&step(0, vec![with("a", Medium)])).await.unwrap();
        let pause = Act::Pause { by: "nurse".into(), until_us: 1_000 };
        said(act(&store, "a", pause, 6).await);
        store.commit_alerts(&step(1, vec![with("b", Medium), with("c", High)])).await.unwrap();
        let state = async |alert_id: &str| {
            let stored = store.alert(&tenant("st-mary"), alert_id).await.unwrap().unwrap();
            Said::decode(stored.said.unwrap().as_slice()).unwrap().signal.state()
        };
        assert_eq!((state("b").await, state("c").await), (AlertState::Paused, AlertState::Present));
        said(act(&store, "a", Act::Resume, 7).await);
        store.commit_alerts(&step(2, vec![with("d", Medium)])).await.unwrap();
        assert_eq!(state("d").await, AlertState::Present, "the pause is over");
    });
}

async fn state(store: &Store, alert_id: &str) -> AlertState {
    let stored = store.alert(&tenant("st-mary"), alert_id).await.unwrap().unwrap();
    Said::decode(stored.said.unwrap().as_slice()).unwrap().signal.state()
}

/// A start of the condition `c` with this priority; an end when `ended_us` is not 0.
fn of_c(alert_id: &str, phase: AlarmPhase, priority: Priority, ended_us: i64) -> NewEvent {
    let event = event(alert_id, ended_us);
    let condition = Condition { condition_id: "c".into(), priority, phase, ..event.condition };
    NewEvent { condition, ..event }
}

#[test]
fn a_pause_ends_with_an_acknowledgement_and_with_a_higher_priority() {
    on_both(|store| async move {
        use wardline_proto::v1::Priority::{High, Medium};
        let start = |alert_id, priority| of_c(alert_id, AlarmPhase::Start, priority, 0);
        let pause = || Act::Pause { by: "nurse".into(), until_us: 1_000 };
        store.commit_alerts(&step(0, vec![start("a", Medium)])).await.unwrap();
        said(act(&store, "a", pause(), 6).await);
        said(act(&store, "a", acknowledge(), 7).await);
        store.commit_alerts(&step(1, vec![start("b", Medium)])).await.unwrap();
        assert_eq!(state(&store, "b").await, AlertState::Present, "nobody has seen to this one");
        said(act(&store, "b", pause(), 8).await);
        let rise = of_c("b", AlarmPhase::Escalate, High, 0);
        store.commit_alerts(&step(2, vec![rise, start("d", Medium)])).await.unwrap();
        assert_eq!(state(&store, "d").await, AlertState::Present, "the pause is over for good");
    });
}

#[test]
fn a_start_under_the_name_of_what_is_over_is_raised() {
    on_both(|store| async move {
        let at = |phase, ended_us| of_c("a", phase, Priority::High, ended_us);
        let (start, end) = (at(AlarmPhase::Start, 0), at(AlarmPhase::End, 9));
        store.commit_alerts(&step(0, vec![start.clone(), end, start])).await.unwrap();
        assert_eq!(state(&store, "a").await, AlertState::Present);
        let listed = store.alerts(&tenant("st-mary"), false, None, 10).await.unwrap();
        assert_eq!(listed.len(), 1, "it is on, and listed");
    });
}

#[test]
fn who_wants_no_lease_takes_nobodys() {
    on_both(|store| async move {
        let leased = listener();
        assert!(store.open_listener(&leased).await.unwrap());
        let plain = ListenerRow {
            lease_us: 0,
            leased_until_us: 0,
            opened_at_us: 120,
            sites: vec![],
            ..leased.clone()
        };
        assert!(!store.open_listener(&plain).await.unwrap());
        let key =
            |row: &ListenerRow| (row.lease_us, row.leased_until_us, row.sites.clone(), row.opened_at_us);
        let known = store.listeners(Some(&leased.tenant)).await.unwrap();
        assert_eq!(known.iter().map(key).collect::<Vec<_>>(), [key(&leased)]);
        // Once it was given back, the name is free.
        assert!(store.release_listener((&leased.tenant, &leased.listener), &by(130)).await.unwrap());
        assert!(store.open_listener(&ListenerRow { misses: "kinds".into(), ..plain.clone() }).await.unwrap());
        let known = store.listeners(Some(&leased.tenant)).await.unwrap();
        assert_eq!((key(&known[0]), known[0].misses.as_str()), (key(&plain), "kinds"));
    });
}

fn listener() -> ListenerRow {
    ListenerRow {
        tenant: tenant("st-mary"),
        listener: "spiffe://desk#one".into(),
        sites: vec!["icu-1".into(), "icu-2".into()],
        state: Hearing::Listening,
        lease_us: 50,
        leased_until_us: 150,
        behind_us: 30,
        opened_at_us: 100,
        sent: 0,
        confirmed: 0,
        misses: String::new(),
    }
}

#[test]
fn the_ledger_knows_what_was_sent_and_accepted() {
    on_both(|store| async move {
        let (tenant, row) = (tenant("st-mary"), listener());
        let key = (&tenant, row.listener.as_str());
        store.commit_alerts(&step(0, vec![event("a", 0), event("b", 0)])).await.unwrap();
        let confirm = |cursor, release, at_us| Confirmation {
            tenant: tenant.clone(),
            listener: row.listener.clone(),
            cursor,
            release,
            at_us,
        };
        let early = store.write_ledger(&[], &[confirm(1, false, 110)]).await.unwrap();
        assert_eq!(early, [None], "nobody listens yet");
        store.open_listener(&row).await.unwrap();
        let sent = |cursor, alert_id: &str| Sent {
            tenant: row.tenant.clone(),
            listener: row.listener.clone(),
            cursor,
            alert_id: alert_id.into(),
            at_us: 105,
        };
        // More than one statement takes, of two listeners, in one transaction with what is confirmed of it.
        let other = |cursor| Sent { listener: "spiffe://other".into(), ..sent(cursor, "a") };
        let sent: Vec<_> =
            [sent(1, "a"), sent(2, "b"), sent(2, "b")].into_iter().chain((1..=150).map(other)).collect();
        assert_eq!(
            store.write_ledger(&sent, &[confirm(3, false, 110)]).await.unwrap(),
            [None],
            "past the end"
        );
        let others = DeliveryFilter { listener: "spiffe://other".into(), ..DeliveryFilter::default() };
        let all = store.deliveries(&tenant, &others, 1000).await.unwrap();
        assert_eq!(all.len(), 150);
        let mut paged = Vec::new();
        let mut behind = DeliveryFilter::default();
        while let page = store.deliveries(&tenant, &behind, 40).await.unwrap()
            && let Some(last) = page.last()
        {
            behind.behind = Some((last.sent.cursor, last.sent.listener.clone()));
            paged.extend(page);
        }
        assert_eq!(paged.len(), 152, "each once, of several listeners at one cursor too");
        paged.retain(|line| line.sent.listener == others.listener);
        assert_eq!(paged, all);
        assert_eq!(store.write_ledger(&[], &[confirm(1, false, 110)]).await.unwrap(), [Some(160)]);
        let filter = DeliveryFilter { listener: row.listener.clone(), ..DeliveryFilter::default() };
        let lines = store.deliveries(&tenant, &filter, 10).await.unwrap();
        let seen: Vec<_> = lines.iter().map(|l| (l.sent.cursor, l.times, l.accepted_at_us)).collect();
        assert_eq!(seen, [(2, 2, 0), (1, 1, 110)]);
        let open = DeliveryFilter { open: true, ..filter };
        assert_eq!(store.deliveries(&tenant, &open, 10).await.unwrap().len(), 1);
        let waits = async || store.listeners_waiting().await.unwrap().remove(0).1;
        assert_eq!(waits().await, Some(7));
        store.set_hearing(key, 99, Hearing::Gone).await.unwrap();
        let known = store.listeners(Some(&tenant)).await.unwrap().remove(0);
        assert_eq!(
            (known.state, known.sent, known.confirmed),
            (Hearing::Listening, 2, 1),
            "an older one ended"
        );
        assert_eq!(known.sites, row.sites);
        assert_eq!(store.write_ledger(&[], &[confirm(2, true, 120)]).await.unwrap(), [Some(0)], "goodbye");
        assert_eq!(waits().await, None);
        assert!(store.release_listener(key, &by(1)).await.unwrap());
        assert_eq!(store.trim_deliveries(106).await.unwrap(), 152);
    });
}

#[test]
fn a_fault_of_the_service_is_raised_once_and_ended_once() {
    on_both(|store| async move {
        let raise = |alert_id: &str| {
            let event = event(alert_id, 0);
            let condition = Condition { condition_id: "ward".into(), ..event.condition };
            NewEvent { condition, ..event }
        };
        let first = store.raise_watch(&raise("a"), 5).await.unwrap();
        let second = store.raise_watch(&raise("b"), 6).await.unwrap();
        assert_eq!((first, second), (true, false));
        let present = store.watch_present().await.unwrap();
        assert_eq!(present.iter().map(|row| row.alert_id.as_str()).collect::<Vec<_>>(), ["a"]);
        let over = NewEvent { ended_us: 9, ..raise("a") };
        let over =
            NewEvent { condition: Condition { phase: AlarmPhase::End, ..over.condition.clone() }, ..over };
        assert!(store.end_watch(&over, 9).await.unwrap());
        assert!(!store.end_watch(&over, 10).await.unwrap());
        assert_eq!(store.alert_head(&tenant("st-mary")).await.unwrap(), 2);
        assert!(store.watch_present().await.unwrap().is_empty());
    });
}

#[test]
fn what_is_over_and_accepted_is_forgotten_and_nothing_else() {
    on_both(|store| async move {
        let tenant = tenant("st-mary");
        let row = listener();
        store.open_listener(&row).await.unwrap();
        // Cursors 1 to 4: `a` begins and ends, `b` is present, `c` is over and not accepted.
        let steps = vec![event("a", 0), event("b", 0), event("a", 9), event("c", 9)];
        store.commit_alerts(&step(0, steps)).await.unwrap();
        let sent = |cursor, alert_id: &str| Sent {
            tenant: tenant.clone(),
            listener: row.listener.clone(),
            cursor,
            alert_id: alert_id.into(),
            at_us: 8,
        };
        let confirmed = Confirmation {
            tenant: tenant.clone(),
            listener: row.listener.clone(),
            cursor: 3,
            release: false,
            at_us: 9,
        };
        store.write_ledger(&[sent(1, "a"), sent(3, "a"), sent(4, "c")], &[confirmed]).await.unwrap();
        assert_eq!(store.forget_alerts(7).await.unwrap(), 0, "stored at 7: not old yet");
        store.set_hold(&by(1), &tenant, "case 17").await.unwrap();
        assert_eq!(store.forget_alerts(1_000).await.unwrap(), 0, "nothing is forgotten under a hold");
        assert_eq!(store.trim_deliveries(1_000).await.unwrap(), 0, "of whom an alert was told neither");
        store.release_hold(&by(2), &tenant).await.unwrap();
        assert_eq!(store.forget_alerts(1_000).await.unwrap(), 1);
        assert_eq!(store.forget_alerts(1_000).await.unwrap(), 0);
        let left = store.alert_events(&tenant, 0, 10).await.unwrap();
        assert_eq!(left.iter().map(|event| event.cursor).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(store.alerts_forgotten(&tenant).await.unwrap(), 3);
        assert_eq!(store.alert_head(&tenant).await.unwrap(), 4, "cursors go on");
        assert_eq!(store.trim_deliveries(1_000).await.unwrap(), 2, "what was not accepted stays");
        assert_eq!(store.forget_listeners(1_000).await.unwrap(), 0, "nor who is missed");
        let key = (&tenant, row.listener.as_str());
        assert!(store.release_listener(key, &by(1)).await.unwrap());
        assert_eq!(store.forget_alerts(1_000).await.unwrap(), 1, "nobody has to accept it any more");
        assert_eq!(store.trim_deliveries(1_000).await.unwrap(), 1);
        store.set_hearing(key, row.opened_at_us, Hearing::Gone).await.unwrap();
        assert_eq!(store.forget_listeners(1_000).await.unwrap(), 1);
        let left = store.alert_events(&tenant, 0, 10).await.unwrap();
        assert_eq!(left.iter().map(|event| event.cursor).collect::<Vec<_>>(), [2], "present, however old");
    });
}
