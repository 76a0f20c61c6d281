//! Who wore a device: as it was, and as it was known.

use crate::registry::rejected;
use crate::rig::{at, change, key, on_both};
use wardline_store::registry::{NewBinding, NewDevice, Reject};

fn binding(subject: &str, from_us: i64, until_us: Option<i64>) -> NewBinding {
    NewBinding { device: key("mon-1"), subject: subject.into(), from_us, until_us }
}

#[test]
fn one_entry_mends_a_wrong_binding_and_what_was_believed_can_be_asked() {
    on_both(|store| async move {
        store.register_device(&change(), &NewDevice::bare(key("mon-1"))).await.unwrap();
        // At time 100 the nurse puts it on A; at 500 it turns out that it was B from 200 to 400.
        store.bind(&at(100), &binding("subject-a", 100, None)).await.unwrap();
        store.bind(&at(500), &binding("subject-b", 200, Some(400))).await.unwrap();
        // At 600 it is taken off.
        store.bind(&at(600), &binding("", 600, None)).await.unwrap();
        let wearer =
            async |at_us, known_at_us| store.wearer(&key("mon-1"), at_us, known_at_us).await.unwrap();
        for (at_us, known_at_us, expected) in [
            (50, 1000, None),
            (150, 1000, Some("subject-a")),
            (250, 1000, Some("subject-b")),
            (250, 499, Some("subject-a")),
            (400, 1000, Some("subject-a")),
            (600, 1000, None),
            (600, 599, Some("subject-a")),
            (150, 99, None),
        ] {
            assert_eq!(
                wearer(at_us, known_at_us).await.as_deref(),
                expected,
                "at {at_us}, known at {known_at_us}"
            );
        }
        let ledger = store.bindings(&key("mon-1")).await.unwrap();
        assert_eq!(ledger.iter().map(|entry| entry.recorded_at_us).collect::<Vec<_>>(), [100, 500, 600]);
        assert_eq!(
            rejected(store.bind(&at(700), &binding("x", 10, Some(10))).await),
            Reject::Invalid("time of the binding")
        );
        let nobody = NewBinding { device: key("nobody"), ..binding("x", 10, None) };
        assert_eq!(rejected(store.bind(&at(700), &nobody).await), Reject::NotFound("device"));
    });
}

#[test]
fn no_subject_is_in_the_audit() {
    on_both(|store| async move {
        store.register_device(&change(), &NewDevice::bare(key("mon-1"))).await.unwrap();
        store.bind(&at(100), &binding("subject-a", 100, None)).await.unwrap();
        let audited = crate::rig::audited(&store).await;
        assert!(audited.iter().any(|(action, _)| action == "binding_recorded"));
        assert!(audited.iter().all(|(_, target)| !target.contains("subject")), "{audited:?}");
    });
}
