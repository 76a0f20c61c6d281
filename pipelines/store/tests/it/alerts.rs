//! Alerts: events, state and position together; one engine; cursors without a hole.

use crate::rig::{key, on_both, tenant};
use wardline_proto::v1::{AlarmPhase, Priority};
use wardline_store::Store;
use wardline_store::alert_signal::{Condition, Policy};
use wardline_store::alerts::{AlertCommit, AlertCommitError, NewEvent};

pub(crate) fn event(alert_id: &str, ended_us: i64) -> NewEvent {
    let phase = if ended_us == 0 { AlarmPhase::Start } else { AlarmPhase::End };
    let (condition_id, policy) = (format!("of-{alert_id}"), Policy::default());
    NewEvent {
        device: "mon-1".into(),
        tenant: tenant("st-mary"),
        alert_id: alert_id.into(),
        onset_us: 5,
        ended_us,
        condition: Condition { condition_id, phase, priority: Priority::High, policy },
        sealed: vec![1],
    }
}

pub(crate) fn step(generation: i64, events: Vec<NewEvent>) -> AlertCommit {
    AlertCommit {
        consumer: "alert".into(),
        generation,
        next_offset: generation as u64 + 10,
        stored_at_us: 7,
        events,
        sealed: vec![generation as u8; 3],
        devices: vec![(key("mon-1"), Some(vec![generation as u8]))],
        step: None,
    }
}

async fn cursors(store: &Store) -> Vec<u64> {
    let events = store.alert_events(&tenant("st-mary"), 0, 100).await.unwrap();
    events.into_iter().map(|event| event.cursor).collect()
}

#[test]
fn a_step_is_stored_once_however_often_it_is_tried_and_as_a_whole() {
    on_both(|store| async move {
        assert_eq!(store.alert_checkpoint("alert").await.unwrap(), None);
        assert_eq!(store.alert_head(&tenant("st-mary")).await.unwrap(), 0);
        let first = step(0, vec![event("a", 0), event("b", 0)]);
        assert_eq!(store.commit_alerts(&first).await.unwrap(), 1);
        assert_eq!(store.commit_alerts(&first).await.unwrap(), 1, "the answer was lost");
        let second = AlertCommit { devices: vec![(key("mon-1"), None)], ..step(1, vec![event("a", 9)]) };
        for _lost_answer in 0..2 {
            assert_eq!(store.commit_alerts(&second).await.unwrap(), 2);
        }
        assert_eq!(cursors(&store).await, [1, 2, 3]);
        assert_eq!(store.alert_head(&tenant("st-mary")).await.unwrap(), 3);
        let checkpoint = store.alert_checkpoint("alert").await.unwrap().unwrap();
        assert_eq!((checkpoint.generation, checkpoint.next_offset), (2, 11));
        assert_eq!((checkpoint.sealed, checkpoint.devices), (vec![1; 3], vec![]));
        assert_eq!(store.alert_position("alert").await.unwrap(), Some(11));
        let present = store.alerts(&tenant("st-mary"), false, None, 10).await.unwrap();
        assert_eq!(present.iter().map(|alert| alert.event.alert_id.as_str()).collect::<Vec<_>>(), ["b"]);
        let all = store.alerts(&tenant("st-mary"), true, None, 10).await.unwrap();
        assert_eq!(
            all.iter().map(|alert| alert.event.cursor).collect::<Vec<_>>(),
            [2, 3],
            "one onset: by id"
        );
        let behind = all.first().map(|alert| (alert.onset_us, alert.event.alert_id.as_str()));
        let rest = store.alerts(&tenant("st-mary"), true, behind, 10).await.unwrap();
        assert_eq!(rest, all[1..], "the next page");
        assert_eq!(store.alert_events(&tenant("other"), 0, 10).await.unwrap(), []);
        assert_eq!(store.alert_events(&tenant("st-mary"), u64::MAX, 10).await.unwrap(), []);
    });
}

#[test]
fn a_second_engine_is_refused_and_leaves_nothing() {
    on_both(|store| async move {
        store.commit_alerts(&step(0, vec![event("a", 0)])).await.unwrap();
        for (generation, sealed) in [(0, vec![9]), (2, vec![9]), (7, vec![9])] {
            let other = AlertCommit { sealed, ..step(generation, vec![event("x", 0)]) };
            let refused = store.commit_alerts(&other).await;
            let expected_here = generation;
            assert!(
                matches!(refused, Err(AlertCommitError::Fenced { found: 1, expected }) if expected == expected_here),
                "{refused:?}"
            );
        }
        assert_eq!(cursors(&store).await, [1]);
        // At once, from the same generation: one of them.
        let racers = (0..8_u8).map(|number| {
            let store = store.clone();
            let commit = AlertCommit { sealed: vec![number], ..step(1, vec![event("y", 0)]) };
            tokio::spawn(async move { store.commit_alerts(&commit).await })
        });
        let mut won = 0;
        for racer in racers.collect::<Vec<_>>() {
            match racer.await.unwrap() {
                Ok(generation) => won += generation - 1,
                Err(AlertCommitError::Fenced { found: 2, expected: 1 }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((won, cursors(&store).await), (1, vec![1, 2]));
    });
}
