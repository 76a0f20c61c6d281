//! Claims, factory certificates, renewal, and revocation by each of the five ways.

use crate::registry::rejected;
use crate::rig::{NOW_US, at, audited, certificate, change, device_uri, key, name, on_both, tenant};
use std::sync::Arc;
use std::time::Instant;
use wardline_proto::v1::DeviceState;
use wardline_proto::{DeviceId, Identity};
use wardline_store::registry::{
    IssuedCertificate, ManufacturerCa, NewClaims, PrincipalKind, Redeem, RedeemFactory, Redeemed, Reject,
    Revocation, RevokeBy,
};
use wardline_store::{ErrorKind, Store, StoreError};

const HOUR_US: i64 = 3600 * 1_000_000;

fn secret(number: u32) -> String {
    format!("{number:08x}").repeat(8)
}

async fn claims(store: &Store, batch: &str, device: Option<DeviceId>, numbers: std::ops::Range<u32>) {
    let claims = NewClaims {
        tenant: tenant("st-mary"),
        batch: batch.into(),
        model: "oxi-1".into(),
        device,
        expires_at_us: NOW_US + HOUR_US,
        secrets_sha256: numbers.map(secret).collect(),
    };
    store.create_claims(&change(), &claims).await.unwrap();
}

fn redeem(number: u32, device: &str, certificate: IssuedCertificate) -> Redeem {
    let serial_number = format!("sn-{device}");
    Redeem { secret_sha256: secret(number), device: name(device), serial_number, certificate }
}

#[test]
fn a_claim_is_used_once_and_the_same_key_again_gets_the_same_certificate() {
    on_both(|store| async move {
        claims(&store, "b1", None, 0..1).await;
        let first = certificate(1, &device_uri("mon-1"), "a");
        let done = store.redeem_claim(&change(), &redeem(0, "mon-1", first.clone())).await.unwrap();
        assert_eq!(done, Redeemed::Issued);
        let again = certificate(2, &device_uri("mon-1"), "a");
        let done = store.redeem_claim(&at(NOW_US + 2 * HOUR_US), &redeem(0, "mon-1", again)).await.unwrap();
        assert_eq!(done, Redeemed::Repeated(Box::new(first.clone())), "also after the claim has expired");
        let other_key = redeem(0, "mon-1", certificate(3, &device_uri("mon-1"), "b"));
        assert_eq!(rejected(store.redeem_claim(&change(), &other_key).await), Reject::ClaimUsed);
        let other_device = redeem(0, "mon-2", certificate(4, &device_uri("mon-2"), "a"));
        assert_eq!(rejected(store.redeem_claim(&change(), &other_device).await), Reject::ClaimUsed);
        let device = store.get_device(&key("mon-1")).await.unwrap().unwrap().device;
        assert_eq!((device.model.as_str(), device.serial_number.as_str()), ("oxi-1", "sn-mon-1"));
        assert!(store.get_device(&key("mon-2")).await.unwrap().is_none());
        let of_device = store.list_certificates(&device_uri("mon-1"), 0).await.unwrap();
        assert_eq!(of_device.len(), 1);
        let enrolled = audited(&store).await.into_iter().filter(|(action, _)| action == "enrolled").count();
        assert_eq!(enrolled, 1);
        let by = RevokeBy::Certificate(first.serial.clone());
        let revocation = Revocation { by, compromised_at_us: None, reason: "stolen".into() };
        store.revoke(&change(), &revocation).await.unwrap();
        let thief = redeem(0, "mon-1", certificate(5, &device_uri("mon-1"), "a"));
        assert_eq!(rejected(store.redeem_claim(&change(), &thief).await), Reject::Revoked);
    });
}

#[test]
fn a_claim_that_is_not_good_registers_nothing() {
    on_both(|store| async move {
        claims(&store, "b1", None, 0..2).await;
        claims(&store, "pinned", Some(name("mon-7")), 10..11).await;
        let of = |number, device: &str| redeem(number, device, certificate(number, &device_uri(device), "a"));
        assert_eq!(rejected(store.redeem_claim(&change(), &of(99, "mon-1")).await), Reject::ClaimUnknown);
        let late = at(NOW_US + HOUR_US);
        assert_eq!(rejected(store.redeem_claim(&late, &of(0, "mon-1")).await), Reject::ClaimExpired);
        assert_eq!(rejected(store.redeem_claim(&change(), &of(10, "mon-8")).await), Reject::ClaimOtherDevice);
        assert_eq!(store.revoke_claims(&change(), &tenant("st-mary"), "b1").await.unwrap(), 2);
        assert_eq!(rejected(store.redeem_claim(&change(), &of(0, "mon-1")).await), Reject::ClaimRevoked);
        let unknown = store.revoke_claims(&change(), &tenant("st-mary"), "none").await;
        assert_eq!(rejected(unknown), Reject::NotFound("claim batch"));
        assert!(store.registry_snapshot(NOW_US).await.unwrap().active.is_empty());
        assert_eq!(store.redeem_claim(&change(), &of(10, "mon-7")).await.unwrap(), Redeemed::Issued);
        store.set_device_state(&change(), &key("mon-7"), DeviceState::Suspended).await.unwrap();
        claims(&store, "again", Some(name("mon-7")), 20..21).await;
        let suspended = redeem(20, "mon-7", certificate(20, &device_uri("mon-7"), "b"));
        assert_eq!(rejected(store.redeem_claim(&change(), &suspended).await), Reject::NotActive);
    });
}

#[test]
fn of_many_that_use_one_claim_at_once_one_wins() {
    on_both(|store| async move {
        claims(&store, "b1", None, 0..1).await;
        let store = Arc::new(store);
        let tasks: Vec<_> = (0..32_u32)
            .map(|number| {
                let store = store.clone();
                let certificate = certificate(number, &device_uri("mon-1"), &number.to_string());
                tokio::spawn(
                    async move { store.redeem_claim(&change(), &redeem(0, "mon-1", certificate)).await },
                )
            })
            .collect();
        let (mut issued, mut refused) = (0, 0);
        for task in tasks {
            match task.await.unwrap() {
                Ok(Redeemed::Issued) => issued += 1,
                Err(StoreError::Reject(Reject::ClaimUsed)) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((issued, refused), (1, 31));
        assert_eq!(store.list_certificates(&device_uri("mon-1"), 0).await.unwrap().len(), 1);
    });
}

#[test]
fn a_factory_certificate_enrols_what_is_on_its_list_once() {
    on_both(|store| async move {
        let ca = ManufacturerCa {
            ca_id: "ca-1".into(),
            maker: tenant("acme"),
            tenant: tenant("st-mary"),
            model: "oxi-1".into(),
            pem: "PEM".into(),
            revoked_at_us: None,
        };
        let of = |serial: &str, device: &str, number, owner: &str| RedeemFactory {
            ca_id: "ca-1".into(),
            serial_number: serial.into(),
            device: name(device),
            certificate: certificate(number, &device_uri(device), owner),
        };
        let unknown = store.redeem_factory(&change(), &of("1", "mon-1", 1, "a")).await;
        assert_eq!(rejected(unknown), Reject::NotAllowed);
        store.add_manufacturer_ca(&change(), &ca).await.unwrap();
        store.add_manufacturer_ca(&change(), &ca).await.unwrap();
        assert_eq!(
            store.allow_serials(&change(), "ca-1", &["1".into(), "2".into(), "1".into()]).await.unwrap(),
            2
        );
        assert_eq!(
            store.redeem_factory(&change(), &of("1", "mon-1", 1, "a")).await.unwrap(),
            Redeemed::Issued
        );
        let repeated = store.redeem_factory(&change(), &of("1", "mon-1", 2, "a")).await.unwrap();
        assert!(matches!(repeated, Redeemed::Repeated(known) if known.der == 1_u32.to_be_bytes()));
        let other_key = store.redeem_factory(&change(), &of("1", "mon-1", 3, "b")).await;
        assert_eq!(rejected(other_key), Reject::ClaimUsed);
        let unlisted = store.redeem_factory(&change(), &of("9", "mon-9", 4, "a")).await;
        assert_eq!(rejected(unlisted), Reject::NotAllowed);
        assert_eq!(store.registry_snapshot(NOW_US).await.unwrap().manufacturer_cas.len(), 1);
        let revocation = Revocation {
            by: RevokeBy::ManufacturerCa("ca-1".into()),
            compromised_at_us: None,
            reason: String::new(),
        };
        assert_eq!(store.revoke(&change(), &revocation).await.unwrap().len(), 1);
        let after = store.redeem_factory(&change(), &of("2", "mon-2", 5, "a")).await;
        assert_eq!(rejected(after), Reject::NotAllowed);
        assert!(store.registry_snapshot(NOW_US).await.unwrap().manufacturer_cas.is_empty());
    });
}

#[test]
fn renewal_follows_a_living_certificate_of_the_same_identity() {
    on_both(|store| async move {
        let (first, uri) = (certificate(1, &device_uri("mon-1"), "a"), device_uri("mon-1"));
        store.enrol(&change(), &Identity::Device(key("mon-1")), &first).await.unwrap();
        let second = certificate(2, &uri, "b");
        assert_eq!(store.renew(&change(), &first.serial, &second).await.unwrap(), Redeemed::Issued);
        let repeated = store.renew(&change(), &first.serial, &certificate(10, &uri, "b")).await.unwrap();
        assert_eq!(repeated, Redeemed::Repeated(Box::new(second.clone())), "the answer was lost");
        // The same key once more after the new one is a renewal of its own, and so is another key after the old one.
        for (after, number, owner) in [(&second, 11, "b"), (&first, 12, "c")] {
            let certificate = certificate(number, &uri, owner);
            assert_eq!(store.renew(&change(), &after.serial, &certificate).await.unwrap(), Redeemed::Issued);
        }
        assert_eq!(store.list_certificates(&uri, 0).await.unwrap().len(), 4);
        let by = RevokeBy::Certificate(second.serial.clone());
        let revocation = Revocation { by, compromised_at_us: None, reason: String::new() };
        store.revoke(&change(), &revocation).await.unwrap();
        let repeated = store.renew(&change(), &first.serial, &certificate(13, &uri, "b")).await;
        assert_eq!(rejected(repeated), Reject::Revoked, "what is revoked is not given out again");
        let other = store.renew(&change(), &first.serial, &certificate(3, &device_uri("mon-2"), "b")).await;
        assert_eq!(rejected(other), Reject::NotAllowed);
        let unknown = certificate(9, &uri, "c").serial;
        let missing = store.renew(&change(), &unknown, &certificate(4, &uri, "b")).await;
        assert_eq!(rejected(missing), Reject::NotFound("certificate"));
        let expired = store.renew(&at(first.not_after_us), &first.serial, &certificate(6, &uri, "b")).await;
        assert_eq!(rejected(expired), Reject::NotAllowed);
        store.set_device_state(&change(), &key("mon-1"), DeviceState::Suspended).await.unwrap();
        let suspended = store.renew(&change(), &first.serial, &certificate(7, &uri, "b")).await;
        assert_eq!(rejected(suspended), Reject::NotActive);
        store.set_device_state(&change(), &key("mon-1"), DeviceState::Active).await.unwrap();
        store.set_tenant_active(&change(), &tenant("st-mary"), false).await.unwrap();
        let of_tenant = store.renew(&change(), &first.serial, &certificate(8, &uri, "b")).await;
        assert_eq!(rejected(of_tenant), Reject::TenantSuspended);
        store.set_tenant_active(&change(), &tenant("st-mary"), true).await.unwrap();
        let by = RevokeBy::Certificate(first.serial.clone());
        let revocation = Revocation { by, compromised_at_us: None, reason: String::new() };
        store.revoke(&change(), &revocation).await.unwrap();
        let revoked = store.renew(&change(), &first.serial, &certificate(5, &uri, "b")).await;
        assert_eq!(rejected(revoked), Reject::NotAllowed);
    });
}

#[test]
fn a_revocation_reaches_what_it_names_and_nothing_else() {
    on_both(|store| async move {
        claims(&store, "b1", None, 0..2).await;
        claims(&store, "b2", None, 10..11).await;
        for (number, device) in [(0, "mon_1"), (10, "mon-1")] {
            let certificate = certificate(number, &device_uri(device), device);
            store.redeem_claim(&change(), &redeem(number, device, certificate)).await.unwrap();
        }
        let service = Identity::Service { tenant: tenant("st-mary"), name: name("ward-7") };
        let uri = "spiffe://wardline.local/tenant/st-mary/service/ward-7";
        store.enrol(&change(), &service, &certificate(50, uri, "s")).await.unwrap();
        let by = |by| Revocation { by, compromised_at_us: None, reason: String::new() };
        let revoke = async |what| store.revoke(&change(), &by(what)).await.unwrap().len();
        assert_eq!(revoke(RevokeBy::Device(key("mon_1"))).await, 1, "_ stands for itself");
        assert_eq!(revoke(RevokeBy::ClaimBatch(tenant("st-mary"), "b2".into())).await, 1);
        assert_eq!(
            revoke(RevokeBy::Principal(tenant("st-mary"), PrincipalKind::User, name("ward-7"))).await,
            0
        );
        assert_eq!(
            revoke(RevokeBy::Principal(tenant("st-mary"), PrincipalKind::Service, name("ward-7"))).await,
            1
        );
        let unknown = RevokeBy::Certificate(certificate(99, "x", "x").serial);
        assert_eq!(rejected(store.revoke(&change(), &by(unknown)).await), Reject::NotFound("certificate"));
        let unused = redeem(1, "mon-3", certificate(1, &device_uri("mon-3"), "c"));
        assert_eq!(
            store.redeem_claim(&change(), &unused).await.unwrap(),
            Redeemed::Issued,
            "of another batch"
        );
        assert_eq!(store.registry_snapshot(NOW_US).await.unwrap().revoked.len(), 3);
    });
}

/// What onboarding a fleet needs: 1,000 devices a minute.
const REDEEMED_PER_SECOND_MIN: f64 = 1000.0 / 60.0;

#[test]
fn a_fleet_enrols_at_a_thousand_a_minute_one_by_one_and_at_once() {
    const EACH: u32 = 160;
    on_both(|store| async move {
        claims(&store, "b1", None, 0..2 * EACH).await;
        for (tasks, first) in [(1, 0), (16, EACH)] {
            let started = Instant::now();
            let workers: Vec<_> = (0..tasks)
                .map(|worker| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        for number in (first + worker..first + EACH).step_by(tasks as usize) {
                            let device = format!("mon-{number}");
                            let certificate = certificate(number, &device_uri(&device), &device);
                            let redeem = redeem(number, &device, certificate);
                            assert_eq!(
                                store.redeem_claim(&change(), &redeem).await.unwrap(),
                                Redeemed::Issued
                            );
                        }
                    })
                })
                .collect();
            for worker in workers {
                worker.await.unwrap();
            }
            let rate = f64::from(EACH) / started.elapsed().as_secs_f64();
            println!("{rate:.0} claims redeemed a second by {tasks} tasks");
            assert!(rate > REDEEMED_PER_SECOND_MIN, "{rate} by {tasks} tasks");
        }
        let active = store.registry_snapshot(NOW_US).await.unwrap().active.len();
        assert_eq!(active, 2 * EACH as usize);
    });
}

#[test]
fn a_secret_is_kept_once_and_in_one_form() {
    on_both(|store| async move {
        let of = |secrets_sha256: Vec<String>| NewClaims {
            tenant: tenant("st-mary"),
            batch: "b1".into(),
            model: String::new(),
            device: None,
            expires_at_us: NOW_US + HOUR_US,
            secrets_sha256,
        };
        for bad in ["", "00", &"AB".repeat(32), &"0g".repeat(32), &"00".repeat(33)] {
            let refused = store.create_claims(&change(), &of(vec![bad.into()])).await;
            assert_eq!(rejected(refused), Reject::Invalid("secret"), "{bad}");
        }
        let twice = store.create_claims(&change(), &of(vec![secret(1), secret(2), secret(1)])).await;
        assert_eq!(twice.unwrap_err().kind(), ErrorKind::Reject);
        assert!(store.lookup_claim(&secret(2)).await.unwrap().is_none(), "all of them or none");
    });
}
