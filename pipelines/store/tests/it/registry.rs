//! Tenants, sites, models, devices, peripherals, principals, and the snapshot that nodes take.

use crate::rig::{NOW_US, at, audited, certificate, change, device_uri, key, name, on_both, tenant};
use wardline_proto::Identity;
use wardline_proto::v1::DeviceState;
use wardline_store::StoreError;
use wardline_store::registry::{
    DeviceFilter, Imported, Model, NewDevice, Peripheral, PrincipalKind, Reject, Revocation, RevokeBy, Role,
};

pub(crate) fn rejected<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Reject {
    match result {
        Err(StoreError::Reject(why)) => why,
        other => panic!("not rejected: {other:?}"),
    }
}

#[test]
fn tenants_and_sites_are_made_once_and_a_suspended_tenant_has_no_devices() {
    on_both(|store| async move {
        store.create_tenant(&change(), &tenant("st-mary"), "St Mary").await.unwrap();
        store.create_tenant(&change(), &tenant("st-mary"), "St Mary").await.unwrap();
        let other = store.create_tenant(&change(), &tenant("st-mary"), "Another").await;
        assert_eq!(rejected(other), Reject::Conflict("tenant"));
        store.create_site(&change(), &tenant("st-mary"), &name("ward-7"), "Ward 7").await.unwrap();
        store.create_site(&change(), &tenant("st-mary"), &name("ward-7"), "Ward 7").await.unwrap();
        assert_eq!(store.list_sites(&tenant("st-mary")).await.unwrap().len(), 1);
        store.register_device(&change(), &NewDevice::bare(key("mon-1"))).await.unwrap();
        assert_eq!(store.registry_snapshot(NOW_US).await.unwrap().active, [key("mon-1")]);
        let before = store.registry_version().await.unwrap();
        store.set_tenant_active(&change(), &tenant("st-mary"), false).await.unwrap();
        let snapshot = store.registry_snapshot(NOW_US).await.unwrap();
        assert!(snapshot.active.is_empty() && snapshot.version > before);
        let refused = store.register_device(&change(), &NewDevice::bare(key("mon-2"))).await;
        assert_eq!(rejected(refused), Reject::TenantSuspended);
        let unknown = store.set_tenant_active(&change(), &tenant("nobody"), true).await;
        assert_eq!(rejected(unknown), Reject::NotFound("tenant"));
        let actions: Vec<_> = audited(&store).await.into_iter().map(|(action, _)| action).collect();
        assert_eq!(actions, ["tenant_created", "site_created", "device_registered", "tenant_suspended"]);
    });
}

#[test]
fn a_models_profile_only_gets_newer() {
    on_both(|store| async move {
        let model = |profile: &str, profile_version| Model {
            model: name("oxi-1"),
            maker: tenant("acme"),
            display_name: "Oxi".into(),
            profile: profile.into(),
            profile_version,
            created_at_us: 0,
        };
        store.put_model(&change(), &model("a", 1)).await.unwrap();
        store.put_model(&change(), &model("a", 1)).await.unwrap();
        assert_eq!(rejected(store.put_model(&change(), &model("b", 1)).await), Reject::Conflict("model"));
        store.put_model(&change(), &model("b", 2)).await.unwrap();
        let other_maker = Model { maker: tenant("other"), ..model("b", 3) };
        assert_eq!(rejected(store.put_model(&change(), &other_maker).await), Reject::Conflict("model"));
        assert_eq!(store.get_model(&name("oxi-1")).await.unwrap().unwrap().profile, "b");
        assert_eq!(store.list_models(Some(&tenant("acme"))).await.unwrap().len(), 1);
        assert_eq!(store.list_models(Some(&tenant("other"))).await.unwrap().len(), 0);
    });
}

#[test]
fn a_device_is_filled_never_changed_and_listed_by_page() {
    on_both(|store| async move {
        let full = NewDevice {
            model: "oxi-1".into(),
            serial_number: "0001".into(),
            site: "ward-7".into(),
            ..NewDevice::bare(key("mon-1"))
        };
        assert_eq!(
            store.register_device(&change(), &NewDevice::bare(key("mon-1"))).await.unwrap(),
            Imported::Created
        );
        assert_eq!(store.register_device(&change(), &full).await.unwrap(), Imported::Updated);
        assert_eq!(store.register_device(&change(), &full).await.unwrap(), Imported::Same);
        assert_eq!(
            store.register_device(&change(), &NewDevice::bare(key("mon-1"))).await.unwrap(),
            Imported::Same
        );
        let other = NewDevice { serial_number: "0002".into(), ..full.clone() };
        let refused = rejected(store.register_device(&change(), &other).await);
        assert_eq!(refused, Reject::Conflict("serial number of the device"));
        let twin = NewDevice { key: key("mon-2"), ..full.clone() };
        assert_eq!(
            rejected(store.register_device(&change(), &twin).await),
            Reject::Conflict("serial number")
        );
        let long = NewDevice { udi: "x".repeat(300), ..NewDevice::bare(key("mon-3")) };
        assert_eq!(rejected(store.register_device(&change(), &long).await), Reject::Invalid("udi"));

        for at in 10..30 {
            store.register_device(&change(), &NewDevice::bare(key(&format!("mon-{at}")))).await.unwrap();
        }
        let (mut filter, mut seen) =
            (DeviceFilter { tenant: Some(tenant("st-mary")), ..DeviceFilter::default() }, 0);
        loop {
            let page = store.list_devices(&filter, 6).await.unwrap();
            let Some(last) = page.last() else { break };
            (filter.after, seen) = (Some(last.device.key.clone()), seen + page.len());
        }
        assert_eq!(seen, 21);
        let of_model = DeviceFilter { model: Some("oxi-1".into()), ..DeviceFilter::default() };
        assert_eq!(store.list_devices(&of_model, 0).await.unwrap()[0].device, full);

        store.set_device_state(&change(), &key("mon-1"), DeviceState::Retired).await.unwrap();
        store.set_for_test(&change(), &key("mon-10"), true).await.unwrap();
        let snapshot = store.registry_snapshot(NOW_US).await.unwrap();
        assert_eq!((snapshot.active.len(), snapshot.for_test.len()), (20, 1));
        assert!(!snapshot.active.contains(&key("mon-1")));
        let nobody = store.set_for_test(&change(), &key("nobody"), true).await;
        assert_eq!(rejected(nobody), Reject::NotFound("device"));
    });
}

#[test]
fn peripherals_hang_behind_a_registered_hub() {
    on_both(|store| async move {
        let sensor = |serial: &str| Peripheral {
            hub: key("hub-1"),
            peripheral: name("spo2"),
            model: "probe".into(),
            serial_number: serial.into(),
        };
        assert_eq!(rejected(store.add_peripheral(&change(), &sensor("1")).await), Reject::NotFound("device"));
        store.register_device(&change(), &NewDevice::bare(key("hub-1"))).await.unwrap();
        store.add_peripheral(&change(), &sensor("1")).await.unwrap();
        store.add_peripheral(&change(), &sensor("1")).await.unwrap();
        assert_eq!(
            rejected(store.add_peripheral(&change(), &sensor("2")).await),
            Reject::Conflict("peripheral")
        );
        assert_eq!(store.list_peripherals(&key("hub-1")).await.unwrap(), [sensor("1")]);
    });
}

#[test]
fn roles_are_exactly_what_was_given_last() {
    on_both(|store| async move {
        let (tenant, ward) = (tenant("st-mary"), name("ward-7"));
        let who = (&tenant, PrincipalKind::Service, &ward);
        store.put_principal(&change(), who, &[Role::Auditor, Role::Clinician, Role::Auditor]).await.unwrap();
        let roles =
            |snapshot: wardline_store::registry::RegistrySnapshot| snapshot.principals[0].roles.clone();
        assert_eq!(roles(store.registry_snapshot(NOW_US).await.unwrap()), [Role::Clinician, Role::Auditor]);
        store.put_principal(&change(), who, &[Role::Analyst]).await.unwrap();
        assert_eq!(store.list_principals(Some(&tenant)).await.unwrap()[0].roles, [Role::Analyst]);
        store.remove_principal(&change(), who).await.unwrap();
        assert!(store.registry_snapshot(NOW_US).await.unwrap().principals.is_empty());
        assert_eq!(rejected(store.remove_principal(&change(), who).await), Reject::NotFound("principal"));
    });
}

#[test]
fn a_refused_change_leaves_nothing_behind() {
    on_both(|store| async move {
        let before = (store.registry_version().await.unwrap(), audited(&store).await);
        let sensor = Peripheral {
            hub: key("hub-1"),
            peripheral: name("spo2"),
            model: String::new(),
            serial_number: String::new(),
        };
        rejected(store.add_peripheral(&change(), &sensor).await);
        assert_eq!((store.registry_version().await.unwrap(), audited(&store).await), before);
    });
}

#[test]
fn a_revoked_certificate_is_in_the_snapshot_until_it_expires() {
    on_both(|store| async move {
        let identity = Identity::Device(key("mon-1"));
        let certificate = certificate(1, &device_uri("mon-1"), "a");
        store.enrol(&change(), &identity, &certificate).await.unwrap();
        assert!(store.registry_snapshot(NOW_US).await.unwrap().revoked.is_empty());
        let revocation = Revocation {
            by: RevokeBy::Device(key("mon-1")),
            compromised_at_us: Some(NOW_US - 5),
            reason: "lost".into(),
        };
        let revoked = store.revoke(&at(NOW_US + 1), &revocation).await.unwrap();
        assert_eq!(revoked, std::slice::from_ref(&certificate.serial));
        assert!(store.revoke(&at(NOW_US + 2), &revocation).await.unwrap().is_empty());
        let snapshot = store.registry_snapshot(NOW_US + 2).await.unwrap();
        assert_eq!(snapshot.revoked, [(certificate.serial.clone(), certificate.not_after_us)]);
        assert!(store.registry_snapshot(certificate.not_after_us).await.unwrap().revoked.is_empty());
        let row = store.get_certificate(&certificate.serial).await.unwrap().unwrap();
        assert_eq!(
            (row.revoked_at_us, row.compromised_at_us, row.reason.as_str()),
            (Some(NOW_US + 1), Some(NOW_US - 5), "lost")
        );
        assert_eq!(row.certificate, certificate);
    });
}
