//! Rates of change, composites, suppression, overrides, and what comes late.

use super::{Engine, Input, feed, run_with, script, told};
use crate::engine::{Transition, condition_id};
use crate::rules::{Rules, RulesError};
use proptest::prelude::*;
use std::collections::BTreeMap;
use wardline_proto::v1::{AlarmKind, Alert, AlertState, Priority};

/// Every kind at once; the members are a limit, a change and an alarm of the device.
pub(super) const RULES: &str = r#"
version = 1

[[threshold]]
id = "spo2-low"
metric = "MDC_PULS_OXIM_SAT_O2"
mdc_code = 150456
unit = "%"
below = 90
hysteresis = 2
onset_delay_s = 2
clear_delay_s = 2
max_gap_s = 5
priority = "high"
latching = true
source = "test"

[[missing]]
id = "spo2-missing"
metric = "MDC_PULS_OXIM_SAT_O2"
mdc_code = 150456
expect_every_s = 1
grace_s = 19
priority = "medium"
source = "test"

[[rate]]
id = "hr-jump"
metric = "MDC_ECG_HEART_RATE"
mdc_code = 147842
unit = "/min"
rises_by = 30
within_s = 60
hysteresis = 10
onset_delay_s = 0
clear_delay_s = 0
max_gap_s = 10
priority = "medium"
source = "test"

[[composite]]
id = "sick"
all_of = ["spo2-low", "hr-jump"]
within_s = 10
onset_delay_s = 3
priority = "high"
source = "test"

[[suppress]]
cause = "device/probe"
rules = ["spo2-low", "spo2-missing"]
settle_s = 5
source = "test"

[[override]]
rule = "spo2-low"
below = 86
from = 2023-11-14T22:13:20Z
until = 2023-11-14T23:13:20Z
author = "dr-x"
source = "chronic hypoxaemia"
devices = ["mon-9"]
"#;

pub(super) fn rules() -> Rules {
    Rules::parse(RULES).unwrap()
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(told(&run_with(rules(), &script(text))), expected, "{text}");
}

#[test]
fn a_change_within_the_time_raises_whatever_the_value_is() {
    check(
        "0-10 hr 80\n11 hr 105\n12 hr 111\n13-70 hr 111\n71-75 hr 111",
        &["start hr-jump onset 12 at 12 onset", "end hr-jump onset 12 at 71 cleared"],
    );
    let out = run_with(rules(), &script("0-10 hr 80\n11 hr 105\n12 hr 111\n13-71 hr 111"));
    let said = |at: usize| {
        let alert = &out[at].alert;
        (alert.value, alert.limit, alert.detail.as_str())
    };
    assert_eq!(said(0), (Some(111.0), None, "+31 /min within 60 s"), "what was measured is the reading");
    assert_eq!(said(1), (Some(111.0), None, "+31 /min within 60 s"));
    assert_eq!(
        condition_id(&out[0].alert),
        condition_id(&Alert { detail: String::new(), ..out[0].alert.clone() })
    );
    // As slow as it likes: never 30 within a minute.
    check("0-20 hr 80\n21-60 hr 95\n61-120 hr 109\n121-180 hr 124", &[]);
    // A gap is not a jump: what lies between is not known.
    check("0-5 hr 80\n30-40 hr 120", &[]);
    check("0-10 hr 150\n11-20 hr 80", &[]);
}

#[test]
fn a_composite_needs_all_of_them_for_its_delay_and_members_need_not_overlap() {
    let both = "
        0-10 spo2 97
        0-10 hr 80
        11-13 spo2 85
        14-16 spo2 97
        17-20 hr 120
        tick 40";
    let out = told(&run_with(rules(), &script(both)));
    assert_eq!(
        out,
        [
            "start spo2-low onset 11 at 13 onset",
            "end spo2-low onset 11 at 16 cleared",
            "start hr-jump onset 17 at 17 onset",
            "start sick onset 17.2 at 20.2 composite",
            "end sick onset 17.2 at 26.2 cleared",
            "start spo2-missing onset 16.2 at 36.2 data_missing",
        ]
    );
    let one = told(&run_with(rules(), &script("0-10 hr 80\n11-40 hr 120")));
    assert!(one.iter().all(|line| !line.contains("sick")), "{one:?}");
}

#[test]
fn what_a_cause_explains_is_held_and_told_when_it_outlives_the_cause() {
    // The probe is off: low values and silence follow from it, and end before it has settled.
    let ended =
        "0-5 spo2 97\n6 alarm probe start\n7-12 spo2 80\n13-20 spo2 97\n21 alarm probe end\n22-30 spo2 97";
    check(ended, &["start device/probe onset 6 at 6 device", "end device/probe onset 6 at 21 device"]);
    let outlives = "0-5 spo2 97\n6 alarm probe start\n7-40 spo2 80\n15 alarm probe end\n41 spo2 80";
    let mut inputs = script(outlives);
    inputs.sort_by_key(|input| match input {
        Input::Seen(seen) => seen.ingested_at_us,
        Input::Tick(at_us) => *at_us,
    });
    let out = told(&run_with(rules(), &inputs));
    assert_eq!(
        out,
        [
            "start device/probe onset 6 at 6 device",
            "end device/probe onset 6 at 15 device",
            "start spo2-low onset 7 at 20.2 unsuppressed",
        ]
    );
    // What was told before stays told.
    let before = "0-10 spo2 80\n11 alarm probe start\n12-20 spo2 80\n21-30 spo2 97";
    check(
        before,
        &[
            "start spo2-low onset 0 at 2 onset",
            "start device/probe onset 11 at 11 device",
            "end spo2-low onset 0 at 23 cleared",
        ],
    );
}

#[test]
fn a_cause_of_a_device_that_falls_silent_holds_nothing_back() {
    // Nothing more is heard of the device: its probe may be off for ever, and its silence is told.
    check(
        "0-5 spo2 97\n6 alarm probe start\ntick 300",
        &["start device/probe onset 6 at 6 device", "start spo2-missing onset 5.2 at 66.2 unsuppressed"],
    );
    // While it says something, its probe explains the silence of the one metric.
    check("0-5 spo2 97\n6 alarm probe start\n7-300 rr 15", &["start device/probe onset 6 at 6 device"]);
}

#[test]
fn of_two_settling_times_each_is_kept() {
    let more =
        "\n[[suppress]]\ncause = \"device/probe\"\nrules = [\"hr-jump\"]\nsettle_s = 50\nsource = \"test\"\n";
    let rules = Rules::parse(&format!("{RULES}{more}")).unwrap();
    let text = "0-5 spo2 97\n6 alarm probe start\n7-8 spo2 80\n9 spo2 80\n10 alarm probe end\ntick 16";
    let out = told(&run_with(rules, &script(text)));
    assert_eq!(out.last().unwrap(), "start spo2-low onset 7 at 15.2 unsuppressed");
}

#[test]
fn an_override_is_for_its_device_and_its_time_alone() {
    check("0-10 spo2 88 dev=mon-9", &[]);
    check("0-10 spo2 85 dev=mon-9", &["start mon-9 spo2-low onset 0 at 2 onset"]);
    check("3600-3610 spo2 88 dev=mon-9", &["start mon-9 spo2-low onset 3600 at 3602 onset"]);
    check("0-10 spo2 88", &["start spo2-low onset 0 at 2 onset"]);
}

#[test]
fn what_comes_late_is_a_finding_and_never_a_page() {
    let out = run_with(rules(), &script("0-20 spo2 80 in400\n21 spo2 97 in400\n22-30 spo2 80 in400"));
    assert_eq!(
        told(&out)[..],
        ["end late/spo2-low onset 0 at 2 retrospective", "end late/spo2-low onset 22 at 24 retrospective"]
    );
    for transition in &out {
        let alert = &transition.alert;
        assert_eq!((alert.kind(), alert.priority()), (AlarmKind::Advisory, Priority::Low));
        assert_eq!(alert.state(), AlertState::Ended);
    }
    assert!(run_with(rules(), &script("0-20 spo2 80 s1 in400")).is_empty(), "nor from invalid values");
}

#[test]
fn a_test_or_demonstration_raises_nothing_of_any_kind() {
    for status in [1, 4, 8, 16, 32] {
        let text = format!("0-20 spo2 80 s{status}\n0-9 hr 80 s{status}\n10-20 hr 140 s{status}");
        assert!(run_with(rules(), &script(&text)).is_empty(), "{status}");
    }
}

#[test]
fn each_mistake_is_named() {
    let table = [
        ("rises_by = 30", "", "hr-jump: give either rises_by or falls_by"),
        ("rises_by = 30", "rises_by = 0", "hr-jump: no plausible change crosses and clears this limit"),
        ("within_s = 60", "within_s = 0", "hr-jump: within_s and max_gap_s must be at least 1"),
        ("\"hr-jump\"]", "\"hr-jmp\"]", "sick: \"hr-jmp\" is no rule before it, and no alarm of a device"),
        ("\"hr-jump\"]", "\"sick\"]", "sick: \"sick\" is no rule before it, and no alarm of a device"),
        ("within_s = 10", "any_of = [\"hr-jump\"]", "sick: give either all_of or any_of"),
        ("\"spo2-missing\"]", "\"device/probe\"]", "suppress device/probe: the cause is itself held back"),
        (
            "below = 86",
            "above = 86",
            "override spo2-low: name a threshold, and give its side: below or above",
        ),
        ("\"dr-x\"", "\" \"", "override spo2-low: author is empty: say who decided it"),
        ("23:13:20Z", "21:13:20Z", "override spo2-low: until must be after from"),
        ("23:13:20Z", "23:13:20", "override spo2-low: from and until are times in UTC: 2026-11-21T08:00:00Z"),
    ];
    for (from, to, expected) in table {
        let text = RULES.replacen(from, to, 1);
        assert_ne!(text, RULES, "{from}");
        let Err(RulesError::Invalid(found)) = Rules::parse(&text) else { panic!("{to} passes") };
        assert!(found.iter().any(|finding| finding.to_string().ends_with(expected)), "{to}: {found:?}");
    }
}

const STORY: &str = "
    0-10 spo2 97
    0-10 hr 80
    11-20 spo2 84
    12-25 hr 125
    21-25 spo2 97
    26 alarm probe start
    27-33 spo2 70
    34 alarm probe end
    35-50 spo2 80
    36-40 spo2 60 in400
    51-60 spo2 97
    tick 500
";

/// Runs a story and restarts from the checkpoint after each of `stops`.
fn restarted(inputs: &[Input], stops: &[usize]) -> Vec<Transition> {
    let (mut engine, mut out) = (Engine::new(rules()), Vec::new());
    let (mut global, mut devices) = (Vec::new(), BTreeMap::new());
    for (number, input) in inputs.iter().enumerate() {
        feed(&mut engine, input, &mut out);
        let changes = engine.take_changes();
        global = changes.global;
        devices.extend(changes.devices.into_iter().filter_map(|(key, state)| Some((key, state?))));
        if stops.contains(&number) {
            engine = Engine::restore(rules(), &global, devices.clone(), &mut out).unwrap();
        }
    }
    assert!(!global.is_empty());
    out
}

#[test]
fn a_restart_at_every_record_changes_nothing() {
    let inputs = script(STORY);
    let expected = run_with(rules(), &inputs);
    let said = told(&expected).join("\n");
    for kind in ["spo2-low", "hr-jump", "sick", "device/probe", "unsuppressed", "late/", "spo2-missing"] {
        assert!(said.contains(kind), "the story has {kind}:\n{said}");
    }
    for stop in 0..inputs.len() {
        assert_eq!(restarted(&inputs, &[stop]), expected, "restarted after {stop}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_with_any_restarts_is_deterministic(
        inputs in Just(script(STORY)).prop_shuffle(),
        stops in prop::collection::vec(0_usize..150, 0..6),
    ) {
        let expected = run_with(rules(), &inputs);
        prop_assert_eq!(&run_with(rules(), &inputs), &expected);
        prop_assert_eq!(&restarted(&inputs, &stops), &expected);
    }
}
