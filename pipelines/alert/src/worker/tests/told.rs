//! The engine looks at the overrides when it is told of one, not only when it is time to look.

use super::super::core::Core;
use super::{AlertOptions, AlertWorker, Rig, now_us, tenant};
use crate::engine::Engine;
use crate::orders::{Orders, REST_US, TRUST_US};
use crate::rules::Rules;
use std::collections::HashMap;
use wardline_proto::v1::OverrideSetting;
use wardline_store::bell::Matter;
use wardline_store::registry::{Change, NewOverride};
use wardline_store::testing::ring;

#[test]
fn the_store_is_asked_after_a_while_and_sooner_when_it_tells_of_a_change() {
    let orders = Orders::new(0, Vec::new(), HashMap::new(), Vec::new());
    for (age_us, has_changed, is_old) in [
        (REST_US - 1, true, false),
        (REST_US, true, true),
        (REST_US, false, false),
        (TRUST_US / 3 - 1, false, false),
        (TRUST_US / 3, false, true),
    ] {
        assert_eq!(orders.is_old(age_us, || has_changed), is_old, "{age_us} {has_changed}");
    }
    assert!(!orders.is_old(REST_US - 1, || panic!("what is not acted on is not taken")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_is_known_as_soon_as_it_is_told_of() {
    let rig = Rig::new().await;
    let (journal, store) = (rig.journal.clone(), rig.store.clone());
    let options = AlertOptions::default();
    let worker = AlertWorker::new(options, journal, store, rig.keyring.clone(), rig.metrics.clone()).unwrap();
    let engine = Engine::new(Rules::defaults().unwrap());
    let mut core = Core::new(engine, worker.source.clone(), None, Vec::new());
    let mut bell = rig.store.bell(Matter::Orders);
    let said = NewOverride {
        tenant: tenant(),
        site: String::new(),
        subject: String::new(),
        rule_id: "spo2-low".into(),
        setting: OverrideSetting::Below.into(),
        value: 84.0,
        from_us: 0,
        until_us: None,
        reason: "round".into(),
    };
    let by = Change::new("spiffe://wardline.local/tenant/st-mary/user/ward", now_us());
    rig.store.set_override(&by, &said).await.unwrap();
    // Far from the next look.
    let mut orders = Orders::new(now_us() - REST_US, Vec::new(), HashMap::new(), Vec::new());
    ring(&rig.store, Matter::Orders);
    worker.ask(&mut orders, &mut bell, &mut core).await;
    assert_eq!(orders.count(), 1);
    assert!(!bell.has_rung(), "one ring is one look");
}
