//! Following changes: after any of them, what a node was told piece by piece is what it would read as a whole.

use crate::rig::{NOW_US, at, certificate, change, device_uri, key, name, on_both, tenant};
use std::time::Instant;
use wardline_proto::Identity;
use wardline_proto::v1::DeviceState;
use wardline_store::Store;
use wardline_store::registry::{
    CHANGES_MAX, ManufacturerCa, NewBinding, NewDevice, PrincipalKind, RegistryView, Revocation, RevokeBy,
    Role, VERSIONS_KEPT,
};
use wardline_store::testing::{execute, fill_revoked};

/// Follows from where the view is; says whether it could be told without reading everything.
async fn follow(store: &Store, view: &mut RegistryView) -> bool {
    match store.changes_since(view.version(), NOW_US).await.unwrap() {
        Some(changes) => {
            view.apply(changes);
            true
        }
        None => {
            *view = whole(store).await;
            false
        }
    }
}

async fn whole(store: &Store) -> RegistryView {
    store.registry_snapshot(NOW_US).await.unwrap().into()
}

/// Makes one of the changes that there are; one that is refused is none.
async fn step(store: &Store, kind: u32, number: u32) {
    let (device, other) = (key(&format!("mon-{}", number % 7)), number.is_multiple_of(2));
    let who = (&tenant("st-mary"), PrincipalKind::Service, &name("ward-7"));
    let uri = device_uri(device.device.as_str());
    let by = |by| Revocation { by, compromised_at_us: None, reason: String::new() };
    let (change, new) = (change(), NewDevice { for_test: other, ..NewDevice::bare(device.clone()) });
    match kind {
        0 => drop(store.register_device(&change, &new).await),
        1 => drop(store.import_devices(&change, &[new, NewDevice::bare(key("mon-9"))]).await.unwrap()),
        2 => {
            let state = [DeviceState::Active, DeviceState::Suspended, DeviceState::Retired];
            let _known = store.set_device_state(&change, &device, state[number as usize % 3]).await.unwrap();
        }
        3 => drop(store.set_for_test(&change, &device, other).await),
        4 => drop(store.set_tenant_active(&change, &tenant("st-mary"), other).await),
        5 => drop(store.put_principal(&change, who, &[Role::Maker][..usize::from(other)]).await),
        6 => drop(store.remove_principal(&change, who).await),
        7 => {
            let issued = certificate(number, &uri, "a");
            drop(store.enrol(&change, &Identity::Device(device), &issued).await);
        }
        8 => drop(store.revoke(&change, &by(RevokeBy::Device(device))).await.unwrap()),
        9 => drop(store.revoke_identity(&change, &uri).await.unwrap()),
        10 => drop(store.create_site(&change, &tenant("st-mary"), &name("ward-7"), "Ward 7").await),
        11 => {
            let binding = NewBinding { device, subject: "s".into(), from_us: 1, until_us: None };
            drop(store.bind(&change, &binding).await);
        }
        _ => {
            let ca = ManufacturerCa {
                ca_id: format!("ca-{number}"),
                maker: tenant("acme"),
                tenant: tenant("acme"),
                model: String::new(),
                pem: String::new(),
                revoked_at_us: None,
            };
            drop(store.add_manufacturer_ca(&change, &ca).await);
        }
    }
}

#[test]
fn what_a_node_is_told_piece_by_piece_is_what_it_would_read_as_a_whole() {
    on_both(|store| async move {
        let seed = 0x5eed_u64;
        let (mut state, mut view, mut told) = (seed, whole(&store).await, 0);
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        for round in 0..150 {
            for _change in 0..random() % 4 {
                step(&store, random() % 13, random() % 10_000).await;
            }
            assert!(follow(&store, &mut view).await, "round {round}");
            assert_eq!(view, whole(&store).await, "seed {seed:x}, round {round}");
            told += 1;
        }
        assert!(view.version() > told, "changes were made");
    });
}

#[test]
fn a_version_that_nobody_wrote_down_makes_a_node_read_everything() {
    on_both(|store| async move {
        let identity = Identity::Device(key("mon-1"));
        let issued = certificate(1, &device_uri("mon-1"), "a");
        store.enrol(&change(), &identity, &issued).await.unwrap();
        let mut view = whole(&store).await;
        let by = RevokeBy::Device(key("mon-1"));
        let revocation = Revocation { by, compromised_at_us: None, reason: String::new() };
        store.revoke(&change(), &revocation).await.unwrap();
        store.register_device(&change(), &NewDevice::bare(key("mon-2"))).await.unwrap();
        // As if a release that writes nothing down had revoked.
        let gone = execute(&store, "DELETE FROM registry_change WHERE kind = 'certificate'").await.unwrap();
        assert_eq!(gone, 1);
        assert!(!follow(&store, &mut view).await);
        assert!(view.is_revoked(&issued.serial) && view.is_active(&key("mon-2")));
        // A copy of the database of before is behind what the node knows.
        execute(&store, "UPDATE registry_version SET version = version - 2").await.unwrap();
        assert!(!follow(&store, &mut view).await);
        let too_old = execute(&store, "UPDATE registry_version SET version = 1000000").await.unwrap();
        assert_eq!(too_old, 1);
        assert!(!follow(&store, &mut view).await);
        // What is told is bounded: old versions are forgotten with the next change.
        store.register_device(&change(), &NewDevice::bare(key("mon-3"))).await.unwrap();
        let behind = store.changes_since(1_000_001 - VERSIONS_KEPT, NOW_US).await.unwrap();
        assert!(behind.is_none());
        assert!(follow(&store, &mut view).await && view.is_active(&key("mon-3")));
        assert_eq!(view, whole(&store).await);
    });
}

#[test]
fn one_more_revocation_after_a_hundred_thousand_reads_one_row_and_very_many_at_once_are_all_seen() {
    on_both(|store| async move {
        fill_revoked(&store, 100_000, NOW_US + 1).await.unwrap();
        let uri = device_uri("mon-1");
        let issued: Vec<_> = (0..3).map(|n| certificate(n, &uri, "a")).collect();
        for certificate in &issued {
            store.enrol(&change(), &Identity::Device(key("mon-1")), certificate).await.unwrap();
        }
        let started = Instant::now();
        let mut view = whole(&store).await;
        let all = started.elapsed();
        store.revoke_certificate(&at(NOW_US), &issued[0].serial).await.unwrap();
        let started = Instant::now();
        let changes = store.changes_since(view.version(), NOW_US).await.unwrap().unwrap();
        assert_eq!(changes.revoked, [(issued[0].serial.clone(), issued[0].not_after_us)]);
        view.apply(changes);
        println!("everything {all:?}, one more {:?}", started.elapsed());
        assert!(view.is_revoked(&issued[0].serial));
        assert!(started.elapsed() < all / 10, "{:?} of {all:?}", started.elapsed());
        // More than is read one by one.
        store.revoke_certificate(&at(NOW_US), &issued[1].serial).await.unwrap();
        let pad = "INSERT INTO registry_change (version, entry, kind, tenant, name) SELECT \
                   (SELECT version FROM registry_version), CAST(ROW_NUMBER() OVER () AS BIGINT), 'pad', '', '' \
                   FROM certificate";
        assert!(execute(&store, pad).await.unwrap() > CHANGES_MAX as u64);
        assert!(!follow(&store, &mut view).await);
        assert!(view.is_revoked(&issued[1].serial) && !view.is_revoked(&issued[2].serial));
        view.forget_expired(NOW_US + 1);
        assert!(view.is_revoked(&issued[0].serial), "it has not expired");
        assert!(whole(&store).await != view, "the hundred thousand have");
    });
}
