//! A maker reaches the devices of its own models, and what it made for them.

use crate::registry::rejected;
use crate::rig::{NOW_US, certificate, change, device_uri, key, name, on_both, tenant};
use wardline_proto::DeviceId;
use wardline_store::Store;
use wardline_store::registry::{
    DeviceFilter, Imported, Model, NewClaims, NewDevice, Redeem, Redeemed, Reject,
};

async fn model(store: &Store, model: &str, maker: &str) {
    let model = Model {
        model: name(model),
        maker: tenant(maker),
        display_name: model.into(),
        profile: String::new(),
        profile_version: 0,
        created_at_us: 0,
    };
    store.put_model(&change(), &model).await.unwrap();
}

fn device(device: &str, model: &str) -> NewDevice {
    NewDevice { model: model.into(), ..NewDevice::bare(key(device)) }
}

fn claims(model: &str, pinned: Option<DeviceId>, secret: char) -> NewClaims {
    NewClaims {
        tenant: tenant("st-mary"),
        batch: "b1".into(),
        model: model.into(),
        device: pinned,
        expires_at_us: NOW_US + 1_000_000,
        secrets_sha256: vec![secret.to_string().repeat(64)],
    }
}

#[test]
fn a_device_belongs_to_the_maker_of_its_model_from_when_it_has_it() {
    on_both(|store| async move {
        model(&store, "oxi-1", "acme").await;
        model(&store, "ecg-1", "other").await;
        let acme = tenant("acme");
        let of = async |new: NewDevice| store.register_device_of(&change(), &new, Some(&acme)).await;
        assert_eq!(of(device("own", "oxi-1")).await.unwrap(), Imported::Created);
        for foreign in ["ecg-1", "unknown", ""] {
            assert_eq!(rejected(of(device("new", foreign)).await), Reject::OtherMaker, "{foreign}");
        }
        // An administrator's device without a model, or with one that is not known yet, is no maker's to take.
        store.register_device(&change(), &device("bare", "")).await.unwrap();
        store.register_device(&change(), &device("early", "late-1")).await.unwrap();
        assert_eq!(rejected(of(device("bare", "oxi-1")).await), Reject::OtherMaker);
        model(&store, "late-1", "acme").await;
        assert_eq!(rejected(of(device("early", "late-1")).await), Reject::OtherMaker);
        assert_eq!(
            store.register_device(&change(), &device("early", "late-1")).await.unwrap(),
            Imported::Updated
        );
        assert_eq!(of(device("early", "late-1")).await.unwrap(), Imported::Same);
        let rows = [device("own-2", "oxi-1"), device("foreign", "ecg-1"), device("bare", "oxi-1")];
        let done = store.import_devices_of(&change(), &rows, Some(&acme)).await.unwrap();
        assert_eq!(done, [Ok(Imported::Created), Err(Reject::OtherMaker), Err(Reject::OtherMaker)]);
        store.register_device(&change(), &device("foreign", "ecg-1")).await.unwrap();
        let filter = DeviceFilter { maker: Some(acme.clone()), ..DeviceFilter::default() };
        let listed = store.list_devices(&filter, 0).await.unwrap();
        let names: Vec<_> = listed.iter().map(|row| row.device.key.device.as_str()).collect();
        assert_eq!(names, ["early", "own", "own-2"]);
    });
}

#[test]
fn a_makers_claim_gets_no_certificate_of_anothers_device() {
    on_both(|store| async move {
        model(&store, "oxi-1", "acme").await;
        let acme = tenant("acme");
        let refused = store.create_claims_of(&change(), &claims("", None, 'a'), Some(&acme)).await;
        assert_eq!(rejected(refused), Reject::OtherMaker);
        store.create_claims_of(&change(), &claims("oxi-1", None, 'a'), Some(&acme)).await.unwrap();
        store.create_claims(&change(), &claims("oxi-1", None, 'b')).await.unwrap();
        let redeem = |secret: char, device: &str, number| Redeem {
            secret_sha256: secret.to_string().repeat(64),
            device: name(device),
            serial_number: String::new(),
            certificate: certificate(number, &device_uri(device), device),
        };
        store.register_device(&change(), &device("bare", "")).await.unwrap();
        let taken = store.redeem_claim(&change(), &redeem('a', "bare", 1)).await;
        assert_eq!(rejected(taken), Reject::OtherMaker, "the administrator's device stays its own");
        assert_eq!(store.redeem_claim(&change(), &redeem('a', "mon-1", 2)).await.unwrap(), Redeemed::Issued);
        assert_eq!(store.redeem_claim(&change(), &redeem('b', "bare", 3)).await.unwrap(), Redeemed::Issued);
        // Of one batch, each sees and takes back its own.
        store.create_claims_of(&change(), &claims("oxi-1", None, 'c'), Some(&acme)).await.unwrap();
        store.create_claims(&change(), &claims("oxi-1", None, 'd')).await.unwrap();
        let listed = store.list_claims_of(&tenant("st-mary"), None, 0, Some(&acme)).await.unwrap();
        assert_eq!(listed.len(), 2);
        let (of, by) = (tenant("st-mary"), tenant("nobody"));
        let nobodys = store.revoke_claims_of(&change(), &of, "b1", Some(&by)).await;
        assert_eq!(rejected(nobodys), Reject::NotFound("claim batch"));
        assert_eq!(store.revoke_claims_of(&change(), &of, "b1", Some(&acme)).await.unwrap(), 1);
        assert_eq!(store.revoke_claims(&change(), &of, "b1").await.unwrap(), 1);
    });
}
