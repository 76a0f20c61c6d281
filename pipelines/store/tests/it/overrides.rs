//! Overrides of alarm rules: added, ended once, audited without a name of anybody.

use crate::registry::rejected;
use crate::rig::{at, key, on_both};
use wardline_store::registry::{NewBinding, NewDevice, NewOverride, Reject};

fn said(subject: &str, value: f64) -> NewOverride {
    NewOverride {
        tenant: key("mon-1").tenant,
        site: String::new(),
        subject: subject.into(),
        rule_id: "spo2-low".into(),
        setting: 1,
        value,
        from_us: 100,
        until_us: None,
        reason: "COPD".into(),
    }
}

#[test]
fn an_override_is_added_and_ended_once() {
    on_both(|store| async move {
        let tenant = key("mon-1").tenant;
        let before = store.registry_version().await.unwrap();
        let first = store.set_override(&at(100), &said("subject-a", 86.5)).await.unwrap();
        let second = store.set_override(&at(200), &said("", 84.0)).await.unwrap();
        assert_eq!((first.override_id, second.override_id), (1, 2));
        assert!(store.registry_version().await.unwrap() > before, "nodes hear of it");
        let ended = store.end_override(&at(300), &tenant, 1).await.unwrap();
        assert_eq!(ended.ended.as_ref().map(|(_, at_us)| *at_us), Some(300));
        let again = store.end_override(&at(400), &tenant, 1).await.unwrap();
        assert_eq!(again, ended, "once");
        assert_eq!(store.overrides(Some(&tenant), 0).await.unwrap(), [ended.clone(), second.clone()]);
        assert_eq!(store.overrides(None, 300).await.unwrap(), [second], "what is over is left out");
        assert_eq!(ended.said.value, 86.5);
        let audited = crate::rig::audited(&store).await;
        let times = |action: &str| audited.iter().filter(|(a, _)| a == action).count();
        assert_eq!((times("alert_override_set"), times("alert_override_ended")), (2, 1), "{audited:?}");
        assert!(audited.iter().all(|(_, target)| !target.contains("subject")), "{audited:?}");
    });
}

#[test]
fn what_cannot_be_kept_is_refused() {
    on_both(|store| async move {
        let set = async |said| rejected(store.set_override(&at(100), &said).await);
        let place = Reject::Invalid("time, value or place of the override");
        assert_eq!(set(NewOverride { until_us: Some(100), ..said("", 80.0) }).await, place);
        assert_eq!(set(said("", f64::NAN)).await, place);
        assert_eq!(set(NewOverride { site: "icu-1".into(), ..said("subject-a", 80.0) }).await, place);
        assert_eq!(
            set(NewOverride { reason: String::new(), ..said("", 80.0) }).await,
            Reject::Invalid("reason")
        );
        let nowhere = NewOverride { site: "nowhere".into(), ..said("", 80.0) };
        assert_eq!(set(nowhere).await, Reject::NotFound("site"));
        let tenant = key("mon-1").tenant;
        let ended = store.end_override(&at(100), &tenant, 7).await;
        assert_eq!(rejected(ended), Reject::NotFound("override"));
        assert!(store.overrides(None, 0).await.unwrap().is_empty());
    });
}

#[test]
fn what_was_set_for_somebody_goes_when_they_are_erased() {
    on_both(|store| async move {
        let device = key("mon-1");
        let tenant = device.tenant.clone();
        store.register_device(&at(1), &NewDevice::bare(device.clone())).await.unwrap();
        let binding = NewBinding { device, subject: "subject-a".into(), from_us: 10, until_us: None };
        store.bind(&at(10), &binding).await.unwrap();
        store.set_override(&at(100), &said("subject-a", 80.0)).await.unwrap();
        let others = store.set_override(&at(100), &said("subject-b", 82.0)).await.unwrap();
        store.ask_erasure(&at(200), &tenant, "subject-a", false).await.unwrap();
        assert_eq!(store.overrides(Some(&tenant), 0).await.unwrap(), [others], "nothing of it is left");
        let again = store.set_override(&at(300), &said("subject-a", 80.0)).await;
        assert_eq!(rejected(again), Reject::Erased);
    });
}
