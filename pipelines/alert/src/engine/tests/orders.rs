//! Overrides of the store: who they are for, which one counts, from when on.

use super::{Input, feed, key, rules_with, script, told, us};
use crate::engine::Engine;
use crate::orders::{LEAD_US, Orders};
use std::collections::HashMap;
use std::sync::Arc;
use wardline_proto::v1::OverrideSetting;
use wardline_store::registry::{Binding, NewBinding, NewOverride, OverrideRow};

/// `(number, site, subject, below, set at, ended at)`; times are seconds of the script.
type Row = (i64, &'static str, &'static str, f64, f64, Option<f64>);

fn row((override_id, site, subject, value, set, ended): Row) -> OverrideRow {
    let said = NewOverride {
        tenant: key("mon-1").tenant,
        site: site.into(),
        subject: subject.into(),
        rule_id: "spo2-low".into(),
        setting: OverrideSetting::Below.into(),
        value,
        from_us: us(0.0),
        until_us: None,
        reason: "test".into(),
    };
    let ended = ended.map(|at| ("somebody".to_owned(), us(at)));
    OverrideRow { override_id, said, set_by: "somebody".into(), set_at_us: us(set), ended }
}

fn worn(binding_id: i64, subject: &str, recorded: f64) -> Binding {
    let (device, subject) = (key("mon-1"), subject.to_owned());
    let binding = NewBinding { device, subject, from_us: us(recorded), until_us: None };
    Binding { binding_id, binding, recorded_at_us: us(recorded), recorded_by: "somebody".into() }
}

fn orders(rows: &[Row], bindings: Vec<Binding>) -> Orders {
    let sites = HashMap::from([(key("mon-1"), "icu-1".to_owned())]);
    Orders::new(us(0.0), rows.iter().copied().map(row).collect(), sites, bindings)
}

fn limit(orders: &Orders, at: f64) -> Option<f64> {
    orders.value(&key("mon-1"), "spo2-low", OverrideSetting::Below, us(at))
}

#[test]
fn a_patients_goes_before_a_wards_before_a_tenants() {
    let rows = [
        (1, "", "p-1", 80.0, 10.0, None),
        (2, "icu-1", "", 82.0, 20.0, None),
        (3, "icu-2", "", 83.0, 20.0, None),
        (4, "", "", 84.0, 30.0, None),
        (5, "", "p-2", 85.0, 30.0, None),
        (6, "", "p-1", 81.0, 60.0, Some(70.0)),
    ];
    let nobody = orders(&rows, Vec::new());
    let wearer = orders(&rows, vec![worn(1, "p-1", 5.0)]);
    assert_eq!(limit(&nobody, 14.9), None);
    assert_eq!((limit(&nobody, 40.0), limit(&wearer, 40.0)), (Some(82.0), Some(80.0)));
    assert_eq!(limit(&orders(&rows[3..4], Vec::new()), 40.0), Some(84.0));
    let newer = [64.9, 65.0, 74.9, 75.0].map(|at| limit(&wearer, at));
    assert_eq!(newer, [Some(80.0), Some(81.0), Some(81.0), Some(80.0)], "the newer one, until it was ended");
    assert_eq!(LEAD_US, 5_000_000);
}

#[test]
fn it_follows_the_patient_from_device_to_device() {
    let rows = [(1, "", "p-1", 80.0, 1.0, None)];
    let bindings = vec![worn(1, "p-1", 10.0), worn(2, "p-2", 30.0), worn(3, "p-1", 50.0), worn(4, "", 70.0)];
    let orders = orders(&rows, bindings);
    let at = [14.0, 16.0, 34.0, 36.0, 54.0, 56.0, 76.0].map(|at| limit(&orders, at).is_some());
    assert_eq!(at, [false, true, true, false, false, true, false]);
}

/// The same readings twice: once by an engine that knew each override when it was set, once by one that knows all from
/// the beginning, as a replay does.
#[test]
fn a_replay_goes_by_what_was_in_force_then() {
    let inputs = script("0-10 spo2 97\n11-40 spo2 87\n41-60 spo2 97\n61-90 spo2 87\n91-99 spo2 97");
    let rows = [(1, "icu-1", "", 85.0, 2.0, Some(50.0))];
    let all = Arc::new(orders(&rows, Vec::new()));
    let before_end = Arc::new(orders(&[(1, "icu-1", "", 85.0, 2.0, None)], Vec::new()));
    let (mut live, mut replay) = (Engine::new(rules_with("")), Engine::new(rules_with("")));
    let (mut live_out, mut replay_out) = (Vec::new(), Vec::new());
    replay.set_orders(all.clone());
    for input in &inputs {
        let Input::Seen(seen) = input else { continue };
        // A live engine hears of a change within three seconds.
        if seen.ingested_at_us >= us(5.0) && seen.ingested_at_us < us(53.0) {
            live.set_orders(before_end.clone());
        } else if seen.ingested_at_us >= us(53.0) {
            live.set_orders(all.clone());
        }
        feed(&mut live, input, &mut live_out);
        feed(&mut replay, input, &mut replay_out);
    }
    let expected = ["start spo2-low onset 61 at 66 onset", "end spo2-low onset 61 at 94 cleared"];
    live_out.retain(|t| t.alert.rule_id == "spo2-low");
    replay_out.retain(|t| t.alert.rule_id == "spo2-low");
    assert_eq!(told(&replay_out), expected, "87 % is borne until the override has ended");
    assert_eq!(live_out, replay_out);
}

#[test]
fn what_an_override_may_change() {
    let rules = rules_with(super::news2::RULE.split_once("version = 1").unwrap().1);
    let refuses = |rule: &str, setting, value| rules.refuses(rule, setting, value);
    assert_eq!(refuses("spo2-low", OverrideSetting::Below, 86.0), None);
    assert_eq!(refuses("news2", OverrideSetting::Spo2Scale, 2.0), None);
    for (rule, setting, value) in [
        ("spo2-low", OverrideSetting::Above, 86.0),
        ("spo2-low", OverrideSetting::Below, 0.0),
        ("spo2-low", OverrideSetting::Below, 99.5),
        ("spo2-low", OverrideSetting::Unspecified, 86.0),
        ("spo2-missing", OverrideSetting::Below, 86.0),
        ("news2", OverrideSetting::Spo2Scale, 3.0),
        ("spo2-low", OverrideSetting::Spo2Scale, 2.0),
    ] {
        assert!(refuses(rule, setting, value).is_some(), "{rule} {setting:?} {value}");
    }
}
