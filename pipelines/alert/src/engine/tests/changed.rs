//! A restart with other rules than before: what was measured by the ones says nothing about the others.

use super::kinds::RULES;
use super::{Input, feed, script, told};
use crate::engine::{Engine, Transition};
use crate::rules::Rules;
use std::collections::BTreeMap;

fn feed_all(engine: &mut Engine, inputs: &[Input], out: &mut Vec<Transition>) {
    inputs.iter().for_each(|input| feed(engine, input, out));
}

/// Feeds `before` by the rules of `from`, restarts with those of `to`, and feeds `after`; returns what is told from the
/// restart on.
fn over(from: &str, to: &str, before: &str, after: &str) -> Vec<String> {
    let mut inputs = script(&format!("{before}\n{after}"));
    let later = inputs.split_off(script(before).len());
    let mut engine = Engine::new(Rules::parse(from).unwrap());
    feed_all(&mut engine, &inputs, &mut Vec::new());
    let changes = engine.take_changes();
    let devices: BTreeMap<_, _> =
        changes.devices.into_iter().filter_map(|(key, state)| Some((key, state?))).collect();
    let mut out = Vec::new();
    let mut engine = Engine::restore(Rules::parse(to).unwrap(), &changes.global, devices, &mut out).unwrap();
    feed_all(&mut engine, &later, &mut out);
    told(&out)
}

fn changed(from: &str, to: &str) -> String {
    let text = RULES.replacen(from, to, 1);
    assert_ne!(text, RULES, "{from}");
    text
}

#[test]
fn a_composite_has_the_members_of_its_rule() {
    let both = "all_of = [\"spo2-low\", \"hr-jump\"]\nwithin_s = 10\nonset_delay_s = 3";
    let either = changed(both, "any_of = [\"spo2-low\", \"hr-jump\"]\nonset_delay_s = 3");
    let other = changed(both, "all_of = [\"spo2-low\", \"device/c1\"]\nwithin_s = 10\nonset_delay_s = 3");
    let before = "0-5 spo2 97\n6-9 spo2 80\n8 alarm c1 start";
    let after = "10-13 spo2 80";
    assert_eq!(over(RULES, RULES, before, after), Vec::<String>::new(), "the heart rate has not moved");
    // c1 was there before its rule asked for it.
    assert_eq!(over(RULES, &other, before, after), ["start sick onset 9.2 at 12.2 composite"]);
    assert_eq!(over(&other, &either, "0-5 spo2 97\n8 alarm c1 start", "10-20 spo2 97"), Vec::<String>::new());
}

#[test]
fn a_new_composite_of_what_is_present_is_told() {
    let start = RULES.find("[[composite]]").unwrap();
    let end = RULES.find("[[suppress]]").unwrap();
    let without = format!("{}{}", &RULES[..start], &RULES[end..]);
    let any = changed("all_of = [\"spo2-low\", \"hr-jump\"]\nwithin_s = 10", "any_of = [\"spo2-low\"]");
    let told = over(&without, &any, "0-10 spo2 80", "11-15 spo2 80");
    assert_eq!(told, ["start sick onset 10.2 at 13.2 composite"]);
}

#[test]
fn data_that_is_expected_sooner_is_missed_sooner() {
    let sooner = changed("grace_s = 19", "grace_s = 4");
    // At once after the restart, and after the next reading.
    assert_eq!(
        over(RULES, &sooner, "0-5 spo2 97", "tick 12"),
        ["start spo2-missing onset 5.2 at 10.2 data_missing"]
    );
    assert_eq!(
        over(RULES, &sooner, "0-5 spo2 97", "6 spo2 97\ntick 12"),
        ["start spo2-missing onset 6.2 at 11.2 data_missing"]
    );
}

#[test]
fn a_rule_that_measures_something_else_begins_anew() {
    let high = changed("below = 90\nhysteresis = 2", "above = 70\nhysteresis = 2");
    let high = high.replacen("below = 86", "above = 75", 1);
    // Low for two seconds, then by the new rule high: not for its two seconds yet.
    let told = over(RULES, &high, "0-1 spo2 80", "2-3 spo2 80");
    assert_eq!(told, Vec::<String>::new());
    let told = over(RULES, &high, "0-5 spo2 80", "6-8 spo2 80");
    assert_eq!(told, ["end spo2-low onset 0 at 5.2 rule_removed", "start spo2-low onset 6 at 8 onset"]);
    let falls = changed("rises_by = 30", "falls_by = 30");
    let told = over(RULES, &falls, "0-10 hr 80\n11-15 hr 120", "16-20 hr 85");
    assert_eq!(told, ["end hr-jump onset 11 at 15.2 rule_removed"], "before it the window is empty");
}
