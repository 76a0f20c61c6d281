//! The early warning score over time: onset, escalation, staleness, and what an incomplete score may do.

use super::{feed, run_with, script, told};
use crate::engine::{Engine, Transition};
use crate::rules::Rules;
use wardline_proto::v1::Priority;

pub(super) const RULE: &str = r#"
version = 1
[[news2]]
id = "news2"
population = "adult-not-pregnant"
spo2_scale = 1
breathing = "air"
consciousness = "presumed-alert"
from_band = "medium"
stale_after_s = 60
spot_stale_after_s = 600
onset_delay_s = 3
clear_delay_s = 3
source = "test"
"#;

fn rules(changes: &[(&str, &str)]) -> Rules {
    let text = changes.iter().fold(RULE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    Rules::parse(&text).unwrap()
}

/// Runs a script of spot and steady readings.
fn run(changes: &[(&str, &str)], text: &str) -> Vec<Transition> {
    run_with(rules(changes), &script(text))
}

fn totals(out: &[Transition]) -> Vec<(u32, Option<u32>)> {
    out.iter().filter_map(|t| t.alert.news2.as_ref()).map(|n| (n.known_points, n.total)).collect()
}

const WELL: &str = "0 sbp 120\n0 temp 37\n0 hr 80\n0 rr 16\n0 spo2 97\n";

#[test]
fn a_rising_score_is_one_alert_that_escalates_and_ends() {
    let story = format!("{WELL}10 rr 26\n11-20 hr 112\n21-25 spo2 92\n26 rr 22\n27 hr 80\n28-34 spo2 97\n");
    let out = run(&[], &story);
    assert_eq!(
        told(&out),
        [
            "start news2 onset 11 at 14 score",
            "escalate news2 onset 11 at 21 score",
            "deescalate news2 onset 11 at 26 score",
            "end news2 onset 11 at 30 cleared",
        ]
    );
    assert_eq!(totals(&out), [(5, Some(5)), (7, Some(7)), (6, Some(6)), (2, Some(2))]);
    assert_eq!(out[1].alert.priority(), Priority::High);
    assert!(out.iter().all(|t| t.alert.alert_id == out[0].alert.alert_id));
}

#[test]
fn an_incomplete_score_has_no_total_and_raises_on_its_floor() {
    let missing = run(&[("presumed-alert", "not-measured")], &format!("{WELL}10 rr 26\n11-15 hr 131\n"));
    assert_eq!(told(&missing), ["start news2 onset 11 at 14 incomplete"]);
    let score = missing[0].alert.news2.clone().unwrap();
    assert_eq!((score.known_points, score.total, score.band.as_str()), (6, None, "medium"));
    assert_eq!(score.missing, ["consciousness"]);
}

#[test]
fn an_incomplete_score_ends_nothing() {
    // Respiration is stale from second 71 on: what is known is below the band, what is not may be what is wrong.
    let story = format!("{WELL}10 rr 26\n11-15 hr 112\n20-100 hr 80\n");
    let out = run(&[("from_band = \"medium\"", "from_band = \"low-medium\"")], &story);
    assert_eq!(told(&out)[0], "start news2 onset 10 at 13 score");
    assert!(!told(&out).iter().any(|line| line.starts_with("end")), "{:?}", told(&out));
}

#[test]
fn a_stale_reading_counts_for_nothing() {
    // 26 breaths a minute at second 0 say nothing about second 100.
    let story = "0 rr 26\n0 sbp 120\n0 temp 37\n0 spo2 97\n100-110 hr 112\n";
    assert_eq!(run(&[], story), []);
}

#[test]
fn a_delay_is_not_satisfied_over_a_gap() {
    let low = [("from_band = \"medium\"", "from_band = \"low-medium\"")];
    assert_eq!(
        run(&low, "10 rr 26\n200-202 rr 26\n"),
        [],
        "what was at second 10 says nothing about the time between"
    );
    assert_eq!(told(&run(&low, "10 rr 26\n200-203 rr 26\n")), ["start news2 onset 200 at 203 incomplete"]);
    // Nor is it an end: the heart rate was not known between second 90 and 200.
    let raised = format!("{WELL}10-13 rr 26\n30 rr 16\n30 hr 80\n30 spo2 97\n200 hr 80\n200 rr 16\n");
    let out = run(&low, &format!("{raised}200-202 spo2 97\n"));
    assert_eq!(told(&out), ["start news2 onset 10 at 13 score"]);
    let out = run(&low, &format!("{raised}200-203 spo2 97\n"));
    assert_eq!(told(&out), ["start news2 onset 10 at 13 score", "end news2 onset 10 at 203 cleared"]);
}

#[test]
fn oxygen_is_what_is_measured_when_the_rule_says_so() {
    let story = format!("{WELL}1 fio2 35\n10 rr 26\n11-15 hr 80\n");
    assert_eq!(told(&run(&[("\"air\"", "\"measured\"")], &story)), ["start news2 onset 10 at 13 score"]);
    assert_eq!(run(&[], &story), [], "the rule says air");
}

#[test]
fn a_restart_in_the_middle_changes_nothing() {
    let inputs =
        script(&format!("{WELL}10 rr 26\n11-20 hr 112\n21-25 spo2 92\n26 rr 22\n27 hr 80\n28-34 spo2 97\n"));
    let whole = run_with(rules(&[]), &inputs);
    for cut in 0..inputs.len() {
        let (mut engine, mut out) = (Engine::new(rules(&[])), Vec::new());
        inputs[..cut].iter().for_each(|input| feed(&mut engine, input, &mut out));
        let changes = engine.take_changes();
        let devices = changes.devices.into_iter().filter_map(|(key, state)| Some((key, state?)));
        let mut engine = Engine::restore(rules(&[]), &changes.global, devices, &mut out).unwrap();
        inputs[cut..].iter().for_each(|input| feed(&mut engine, input, &mut out));
        assert_eq!(out, whole, "cut at {cut}");
    }
}

#[test]
fn the_linter_asks_for_an_attested_population_and_known_words() {
    for (from, to) in [
        ("adult-not-pregnant", "child"),
        ("spo2_scale = 1", "spo2_scale = 3"),
        ("\"air\"", "\"perhaps\""),
        ("\"presumed-alert\"", "\"yes\""),
        ("from_band = \"medium\"", "from_band = \"low\""),
        ("stale_after_s = 60\n", "stale_after_s = 0\n"),
        ("source = \"test\"", "source = \"\""),
    ] {
        assert!(Rules::parse(&RULE.replacen(from, to, 1)).is_err(), "{to}");
    }
}

/// Scale 2 is one patient's: prescribed in the store, it follows who wears the device.
#[test]
fn scale_2_is_a_patients() {
    use crate::orders::Orders;
    use wardline_proto::v1::OverrideSetting;
    use wardline_store::registry::{Binding, NewBinding, NewOverride, OverrideRow};
    let us = super::us;
    let device = super::key("mon-1");
    let said = NewOverride {
        tenant: device.tenant.clone(),
        site: String::new(),
        subject: "p-1".into(),
        rule_id: "news2".into(),
        setting: OverrideSetting::Spo2Scale.into(),
        value: 2.0,
        from_us: us(0.0),
        until_us: None,
        reason: "COPD, 88 to 92 % prescribed".into(),
    };
    let row = OverrideRow { override_id: 1, said, set_by: "dr".into(), set_at_us: us(0.0), ended: None };
    let binding = NewBinding { device, subject: "p-1".into(), from_us: us(20.0), until_us: Some(us(60.0)) };
    let binding = Binding { binding_id: 1, binding, recorded_at_us: us(20.0), recorded_by: "dr".into() };
    let orders = Orders::new(us(0.0), vec![row], Default::default(), vec![binding]);
    let mut engine = Engine::new(rules(&[("\"medium\"", "\"low-medium\"")]));
    engine.set_orders(std::sync::Arc::new(orders));
    let mut out = Vec::new();
    // 89 % scores 3 on scale 1, nothing on scale 2.
    for input in script(&format!("{WELL}1-10 spo2 89\n26-60 spo2 89\n64 hr 80\n64 rr 16\n66-80 spo2 89")) {
        feed(&mut engine, &input, &mut out);
    }
    let lines = told(&out);
    let expected = [
        "start news2 onset 1 at 4 score",
        "end news2 onset 1 at 29 cleared",
        "start news2 onset 66 at 69 score",
    ];
    assert_eq!(lines, expected);
}
