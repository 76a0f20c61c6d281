//! What other rules would have done: the same engine over what was archived, and the difference in alarms.
//!
//! Only what would have been told is counted: a condition that began. Findings in what came late are no alarms.

use crate::engine::{Engine, Transition};
use crate::observation::Observation;
use crate::orders::Orders;
use crate::rules::Rules;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wardline_proto::DeviceKey;
use wardline_proto::v1::{AlarmPhase, Alert};

const HOUR_US: i64 = 3_600_000_000;
const HOURS_PER_DAY: f64 = 24.0;

/// Two sets of rules over the same observations.
#[derive(Debug)]
pub struct WhatIf {
    sides: [Side; 2],
    hours: BTreeSet<(DeviceKey, i64)>,
}

#[derive(Debug)]
struct Side {
    engine: Engine,
    alarms: BTreeMap<String, Alert>,
}

/// The alarms of one rule at one priority.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The rule.
    pub rule_id: String,
    /// Its priority when it began.
    pub priority: i32,
    /// How many the rules in force made.
    pub before: u64,
    /// How many the candidate made.
    pub after: u64,
    /// Those that the candidate would not have made, in order of onset.
    pub gone: Vec<Alert>,
    /// Those that it would have made besides, in order of onset.
    pub new: Vec<Alert>,
}

impl WhatIf {
    /// Compares the rules in force with a candidate.
    pub fn new(before: Rules, after: Rules) -> Self {
        let side = |rules| Side { engine: Engine::new(rules), alarms: BTreeMap::new() };
        Self { sides: [side(before), side(after)], hours: BTreeSet::new() }
    }

    /// Goes by what was decided for patients, wards and tenants as well, on both sides: each from when it was in force
    /// until it was over.
    #[must_use]
    pub fn with_orders(mut self, orders: Orders) -> Self {
        let orders = Arc::new(orders);
        self.sides.iter_mut().for_each(|side| side.engine.set_orders(orders.clone()));
        self
    }

    /// Feeds one observation, in the order of the journal.
    pub fn observe(&mut self, seen: &Observation) {
        self.hours.insert((seen.key.clone(), seen.ingested_at_us.div_euclid(HOUR_US)));
        for side in &mut self.sides {
            let mut out = Vec::new();
            side.engine.observe(seen, &mut out);
            side.keep(out);
        }
    }

    /// Moves time on past the last observation, so that silence is noticed as it would have been.
    pub fn advance(&mut self, now_us: i64) {
        for side in &mut self.sides {
            let mut out = Vec::new();
            side.engine.advance(now_us, &mut out);
            side.keep(out);
        }
    }

    /// Returns for how many patient-days there is data: hours with data per device, added up.
    pub fn patient_days(&self) -> f64 {
        self.hours.len() as f64 / HOURS_PER_DAY
    }

    /// Returns how many devices there are data of.
    pub fn devices(&self) -> usize {
        self.hours.iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len()
    }

    /// Returns the comparison by rule and priority, the highest priority first.
    pub fn compare(&self) -> Vec<Compared> {
        let [before, after] = &self.sides;
        let mut lines: BTreeMap<(i32, String), Compared> = BTreeMap::new();
        for (side, other, is_before) in [(before, after, true), (after, before, false)] {
            for alarm in side.alarms.values() {
                let at = (-alarm.priority, alarm.rule_id.clone());
                let line = lines.entry(at).or_insert_with(|| Compared {
                    rule_id: alarm.rule_id.clone(),
                    priority: alarm.priority,
                    before: 0,
                    after: 0,
                    gone: Vec::new(),
                    new: Vec::new(),
                });
                *(if is_before { &mut line.before } else { &mut line.after }) += 1;
                if !other.alarms.contains_key(&alarm.alert_id) {
                    (if is_before { &mut line.gone } else { &mut line.new }).push(alarm.clone());
                }
            }
        }
        for line in lines.values_mut() {
            line.gone.sort_by_key(|alarm| alarm.onset_us);
            line.new.sort_by_key(|alarm| alarm.onset_us);
        }
        lines.into_values().collect()
    }
}

impl Side {
    fn keep(&mut self, out: Vec<Transition>) {
        let began = out.into_iter().filter(|t| t.phase == AlarmPhase::Start).map(|t| t.alert);
        self.alarms.extend(began.map(|alert| (alert.alert_id.clone(), alert)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use wardline_proto::v1::{Body, NumericSeries, OverrideSetting, Priority};
    use wardline_proto::{DeviceId, TenantId};
    use wardline_store::registry::{NewOverride, OverrideRow};

    fn rules(below: u32, priority: &str) -> Rules {
        let text = Rules::defaults_text();
        let from = text.find("below = 90").unwrap();
        let (head, tail) = text.split_at(from);
        let tail = tail.replacen("below = 90", &format!("below = {below}"), 1);
        Rules::parse(&format!("{head}{}", tail.replacen("\"high\"", &format!("\"{priority}\""), 1))).unwrap()
    }

    fn reading(second: i64, value: f64) -> Observation {
        let device = DeviceId::new("mon-1").unwrap();
        let at_us = 1_700_000_000_000_000 + second * 1_000_000;
        let series = NumericSeries {
            mdc_code: 150_456,
            ucum_unit: "%".into(),
            start_us: at_us,
            time_deltas_us: vec![0],
            values: vec![value],
            statuses: Vec::new(),
        };
        let body = Body { numerics: vec![series], ..Body::default() };
        let key = DeviceKey { tenant: TenantId::new("demo").unwrap(), device };
        Observation { key, header: None, ingested_at_us: at_us, device_offset_us: 0, body }
    }

    fn compared(after: Rules) -> (Vec<Compared>, f64) {
        ran(WhatIf::new(rules(90, "high"), after))
    }

    /// Two episodes: one to 88, one to 80.
    fn ran(mut whatif: WhatIf) -> (Vec<Compared>, f64) {
        for second in 0..120 {
            let value = match second {
                20..=40 => 88.0,
                60..=80 => 80.0,
                _ => 97.0,
            };
            whatif.observe(&reading(second, value));
        }
        whatif.advance(1_700_000_000_000_000 + 125_000_000);
        (whatif.compare(), whatif.patient_days())
    }

    #[test]
    fn a_lower_limit_is_fewer_alarms_and_says_which() {
        let (lines, days) = compared(rules(86, "high"));
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!((line.rule_id.as_str(), line.before, line.after), ("spo2-low", 2, 1));
        assert_eq!((line.gone.len(), line.new.len(), line.gone[0].value), (1, 0, Some(88.0)));
        assert!((days - 1.0 / 24.0).abs() < 1e-9, "{days}");
    }

    /// A limit for the whole tenant, from second 0 until it was ended at a second.
    fn order(below: f64, ended: i64) -> Orders {
        let at_us = |second: i64| 1_700_000_000_000_000 + second * 1_000_000;
        let said = NewOverride {
            tenant: TenantId::new("demo").unwrap(),
            site: String::new(),
            subject: String::new(),
            rule_id: "spo2-low".into(),
            setting: OverrideSetting::Below.into(),
            value: below,
            from_us: at_us(0),
            until_us: None,
            reason: "test".into(),
        };
        let ended = Some(("somebody".to_owned(), at_us(ended)));
        let row = OverrideRow { override_id: 1, said, set_by: "somebody".into(), set_at_us: at_us(0), ended };
        Orders::new(at_us(200), vec![row], HashMap::new(), Vec::new())
    }

    #[test]
    fn what_was_decided_at_the_bedside_changes_the_difference_while_it_was_in_force() {
        let with =
            |ended| ran(WhatIf::new(rules(90, "high"), rules(82, "high")).with_orders(order(84.0, ended))).0;
        let counts = |lines: &[Compared]| (lines[0].before, lines[0].after, lines[0].gone.len());
        assert_eq!(
            counts(&compared(rules(82, "high")).0),
            (2, 1, 1),
            "without it the episode to 88 is the difference"
        );
        // In force over both episodes: 84 goes before either file, and nothing differs.
        assert_eq!(counts(&with(100)), (1, 1, 0));
        // Over before the second: that one is an alarm of both files, the first of none.
        assert_eq!(counts(&with(45)), (1, 1, 0));
        // Over before the first: as if it had never been.
        assert_eq!(counts(&with(5)), (2, 1, 1));
    }

    #[test]
    fn the_same_rules_differ_in_nothing_and_a_priority_is_a_line_of_its_own() {
        let (same, _) = compared(rules(90, "high"));
        assert!(same.iter().all(|line| line.before == line.after && line.gone.is_empty()));
        let (lines, _) = compared(rules(90, "medium"));
        let counts: Vec<_> = lines.iter().map(|l| (l.priority, l.before, l.after)).collect();
        assert_eq!(counts, [(Priority::High.into(), 2, 0), (Priority::Medium.into(), 0, 2)]);
    }
}
